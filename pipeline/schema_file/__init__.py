"""Write and update the curated schema.pbtxt of a configuration."""
