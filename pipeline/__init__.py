"""The one graph, the local runner, the account of runs and the command line."""
