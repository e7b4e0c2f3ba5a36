"""Asks a model on TF Serving about files, DataFrames or rows, grouped and parsed as in training.

    with Client("127.0.0.1:8500", dataset=config.dataset, model_name="vowels") as client:
        predictions = client.predict(pandas.read_csv("new.csv"))
        print(predictions.to_pandas(), predictions.unusable)

``AsyncClient`` is the same for asyncio.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from noisy_gru.serving.client.calls import Call, MetadataCall, ModelMetadata, Reply, VersionStatus
from noisy_gru.serving.client.errors import ServingError, Unavailable
from noisy_gru.serving.client.predictions import Predictions
from noisy_gru.serving.client.request_flow import Answered, Flow, asked, healthy, run, statuses
from noisy_gru.serving.client.retrying import attempts, given_up
from noisy_gru.serving.client.settings import ClientSettings, OnError
from noisy_gru.serving.client.stream import Stream
from noisy_gru.serving.client.stream_states import opened_stream


class Client(ClientSettings):
    """Asks a server, and waits. Its arguments are those of ``ClientSettings``; several threads may use it at a time."""

    def _start(self) -> None:
        self._closed = False
        self._transport: Any
        # Each transport imports its own libraries; importing TensorFlow's messages is not to count as time of a call.
        if self.connection.transport == "rest":
            from noisy_gru.serving.client.rest_transport import RestTransport

            self._transport = RestTransport(self.connection)
        else:
            from noisy_gru.serving.client.grpc_transport import GrpcTransport

            self._transport = GrpcTransport(self.connection)

    def predict(self, data: Any, *, on_error: OnError = "raise") -> Predictions:
        """The model's answer for each sequence; for forecasting, from each entity's latest window.

        Args:
            data: a file or several, in a format of training; a pandas DataFrame; a pyarrow Table; or rows, each a
                mapping of column to value. Neither labels nor splits are needed.
            on_error: what to do about sequences that the server won't answer: `raise`, or `collect` them beside the
                answers to the others.

        Raises:
            DataError: the data can't be read, or a policy that says ``error`` has found a case.
            InvalidRequest: the server won't answer some sequences; it names them.
            ServingError: no answer, for another reason; see ``serving.errors``.
        """
        plan = self.plan_data(data, on_error)
        return plan.predictions(self._run_all(plan.flows))

    def predict_examples(
        self, examples: Iterable[Any], *, ids: Sequence[str] | None = None, on_error: OnError = "raise"
    ) -> Predictions:
        """The model's answers for tf.Examples, serialized or not, as docs/architecture.md describes them.

        Args:
            examples: one for each sequence.
            ids: their names; by default their places, from 0.
            on_error: as for ``predict``.

        Raises:
            DataError: something is no tf.Example, or ids are missing.
            ServingError: as ``predict``.
        """
        plan = self.plan_examples(examples, ids, on_error)
        return plan.predictions(self._run_all(plan.flows))

    def metadata(self) -> ModelMetadata:
        """The version that answers now, and its signatures.

        Raises:
            ServingError: no answer.
        """
        return run(asked(MetadataCall(self.model)), self._ask)

    def status(self) -> list[VersionStatus]:
        """The versions that the server knows of, rising; of the chosen one alone, if one is chosen by number.

        Raises:
            ServingError: no answer.
        """
        return run(statuses(self.model), self._ask)

    def health(self) -> bool:
        """Whether the server is well and answers for the model now; one attempt.

        Raises:
            ServingError: the server refuses to say.
        """
        return run(healthy(self.model), self._ask_once)

    def stream(self) -> Stream:
        """A stream over the signature `serving_step`: each event is sent once. See ``serving.stream``.

        Raises:
            NotFound: the model has no such signature.
            ServingError: no answer.
        """
        states = run(opened_stream(self), self._ask)
        return Stream(states, self._ask)

    def close(self) -> None:
        """Closes the connections; calling it again does nothing."""
        self._closed = True
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run_all(self, flows: Sequence[Flow[Answered]]) -> list[Answered]:
        if len(flows) <= 1 or self.concurrency == 1:
            return [run(flow, self._ask) for flow in flows]
        with ThreadPoolExecutor(min(self.concurrency, len(flows)), thread_name_prefix="noisy-gru-client") as pool:
            futures = [pool.submit(run, flow, self._ask) for flow in flows]
            try:
                return [future.result() for future in futures]
            finally:
                for future in futures:
                    future.cancel()

    def _ask(self, call: Call) -> Reply:
        deadline = self.clock() + self.connection.timeout
        retrying = attempts(self.connection, deadline, clock=self.clock, sleep=self.sleep or time.sleep)
        try:
            return retrying(self._attempt, call, deadline)
        except Unavailable as error:
            raise given_up(error, retrying) from error

    def _ask_once(self, call: Call) -> Reply:
        return self._attempt(call, self.clock() + self.connection.timeout)

    def _attempt(self, call: Call, deadline: float) -> Reply:
        if self._closed:
            raise ServingError(f"the client of {self.connection.target} is closed", code="CANCELLED")
        return self._transport.ask(call, max(deadline - self.clock(), 1e-3))
