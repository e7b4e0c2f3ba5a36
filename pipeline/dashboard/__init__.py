"""A read-only web page of the runs and published versions under some roots."""
