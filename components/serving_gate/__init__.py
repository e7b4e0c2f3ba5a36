"""Loads an exported model as TF Serving does, in a clean process, and blesses it or says why not."""
