"""Run a pipeline on this machine; keep, compare, replay and prune its runs."""
