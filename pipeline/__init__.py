"""The one graph, the local runner, the record of runs and the command line."""
