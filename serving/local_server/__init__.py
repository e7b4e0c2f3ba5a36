"""A stand-in for TF Serving, for development and tests: its gRPC and REST API over models loaded in a Session.

>>> with LocalServer({"vowels": "runs/vowels/serving/vowels"}) as server:  # doctest: +SKIP
...     print(server.grpc_address, server.rest_address)
"""

from noisy_gru.serving.local_server.limits import Limits
from noisy_gru.serving.local_server.server import LocalServer

__all__ = ["Limits", "LocalServer"]
