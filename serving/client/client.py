"""Predictions of a model on TF Serving for files, DataFrames or rows, grouped and parsed as in training.

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

from noisy_gru.serving.client.calls import Inputs, ModelMetadata, PredictCall, VersionStatus
from noisy_gru.serving.client.core import ClientCore, import_transport, run_blocking
from noisy_gru.serving.client.predictions import Predictions
from noisy_gru.serving.client.request_flow import BatchResult, predict_batch
from noisy_gru.serving.client.requests import batches
from noisy_gru.serving.client.settings import OnError, RequestPlan
from noisy_gru.serving.client.stream import Stream


class Client(ClientCore):
    """A blocking client, for any number of threads. Its arguments are those of ``ClientSettings``."""

    def _start(self) -> None:
        super()._start()
        # Opened here, so that the import does not count as time of a call, and a bad certificate is found now.
        self._transport = import_transport(self.connection.transport, blocking=True)(self.connection)

    def predict(self, data: Any, *, on_error: OnError = "raise") -> Predictions:
        """Return the model's prediction for each sequence; for forecasting, from each entity's latest window.

        Args:
            data: a file or several, in a format of training; a pandas DataFrame; a pyarrow Table; or rows, each a
                mapping of column to value. Neither labels nor splits are needed.
            on_error: what to do about sequences that the server refuses: `raise`, or `collect` them beside the
                predictions for the others.

        Raises:
            DataError: the data can't be read, or a policy that says ``error`` has found a case.
            InvalidRequest: the server refuses some sequences; the error names them.
            ServingError: the request failed for another reason; see ``serving.client.errors``.
        """
        return run_blocking(self._predict(self.plan_data(data, on_error)))

    def predict_examples(
        self, examples: Iterable[Any], *, ids: Sequence[str] | None = None, on_error: OnError = "raise"
    ) -> Predictions:
        """Return the model's predictions for tf.Examples, serialized or not, as docs/architecture.md describes them.

        Args:
            examples: one for each sequence.
            ids: their names; by default their places, from 0.
            on_error: as for ``predict``.

        Raises:
            DataError: something is no tf.Example, or ids are missing.
            ServingError: as ``predict``.
        """
        return run_blocking(self._predict(self.plan_examples(examples, ids, on_error)))

    def run(self, signature: str, inputs: Inputs, ids: Sequence[str], *, version: int | None = None) -> BatchResult:
        """Run a signature on sequences that are tensors already, in batches; those that are refused are collected.

        Args:
            signature: its name.
            inputs: each an array or a list of strings, sequences along its first axis.
            ids: names of the sequences.
            version: of the model; None: the client's.

        Returns:
            The outputs with the place of the first sequence of each part, in order; and the refused sequences.

        Raises:
            ServingError: the request failed.
        """
        choice = self.model if version is None else self.model.at(version)
        found: BatchResult = ([], [])
        call = PredictCall(choice, signature, inputs, ids)
        for first, batch in batches(call, self.batch_size, self.largest_request) if ids else ():
            places = range(first, first + len(batch.ids))
            flow = predict_batch(batch, self._send, target=self.connection.target, collect=True, places=places)
            parts, refused = run_blocking(flow)
            found[0].extend(parts)
            found[1].extend(refused)
        return found

    def metadata(self) -> ModelMetadata:
        """Return the version that answers now, and its signatures.

        Raises:
            ServingError: the request failed.
        """
        return run_blocking(self._metadata())

    def status(self) -> list[VersionStatus]:
        """Return the versions that the server knows of, rising; only the chosen one, if it is chosen by number.

        Raises:
            ServingError: the request failed.
        """
        return run_blocking(self._status())

    def health(self) -> bool:
        """Return whether the server is healthy and answers for the model now; one attempt.

        Raises:
            ServingError: the server refuses the request.
        """
        return run_blocking(self._health())

    def stream(self) -> Stream:
        """Open a stream over the signature `serving_step`: each event is sent once. See ``serving.client.stream``.

        Raises:
            NotFound: the model has no such signature.
            ServingError: the request failed.
        """
        return Stream(run_blocking(self._open_states()), self._send)

    def close(self) -> None:
        """Close the connections; requests of other threads fail, further calls do nothing."""
        run_blocking(self._close())

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def _predict(self, plan: RequestPlan) -> Predictions:
        def predict(batch: Any) -> BatchResult:
            return run_blocking(self._predict_batch(plan, *batch))

        if len(plan.batches) <= 1 or self.concurrency == 1:
            return plan.predictions(map(predict, plan.batches))
        with ThreadPoolExecutor(min(self.concurrency, len(plan.batches)), "noisy-gru-client") as pool:
            futures = [pool.submit(predict, batch) for batch in plan.batches]
            try:
                return plan.predictions([future.result() for future in futures])
            finally:
                for future in futures:
                    future.cancel()

    async def _open(self) -> Any:
        if self._closed:
            raise self._closed_error()
        return self._transport

    async def _wait(self, seconds: float) -> None:
        (self.sleep or time.sleep)(seconds)
