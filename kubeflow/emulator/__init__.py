"""Run a compiled pipeline on this machine as Kubeflow Pipelines' driver and launcher would, without a cluster.

    >>> emulate(Path("pipeline.yaml"), Path("dry-run"), {"data_root": "/data"}).status  # doctest: +SKIP
    'succeeded'

It reads the compiled file and nothing else of this package. It notes what differs from a cluster: containers are
processes of this machine with a folder of their own; volumes, secrets, limits and images are not there, and retries
don't wait.
"""
