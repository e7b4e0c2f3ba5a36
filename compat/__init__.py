"""Private names of other libraries, each in one place, and which extras are installed.

A private name is used through its module here (`keras`, `tfx`, `beam`, `kfp`), which says in which version it was read;
`tests/compat` has a canary for each.
"""
