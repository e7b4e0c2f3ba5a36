"""Files and tables in memory as blocks of canonical columns."""
