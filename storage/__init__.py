"""Files and locks that outlive a kill: atomic writes, JSON-lines logs, locks between processes."""
