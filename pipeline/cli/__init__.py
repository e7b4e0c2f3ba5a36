"""Command line: commands, options and output."""
