"""One run on this machine, the records of all runs, and what is kept of them."""
