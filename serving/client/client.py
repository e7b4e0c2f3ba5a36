"""Predictions of a model on TF Serving for files, DataFrames or rows, grouped and parsed as in training.

    with Client("127.0.0.1:8500", dataset=config.dataset, model_name="vowels") as client:
        predictions = client.predict(pandas.read_csv("new.csv"))
        print(predictions.to_pandas(), predictions.unusable)

``AsyncClient`` is the same for asyncio.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Coroutine, Iterable, Sequence
from concurrent.futures import CancelledError
from typing import Any, TypeVar

from noisy_gru.serving.client.calls import ModelMetadata, VersionStatus
from noisy_gru.serving.client.core import ClientCore, import_transport
from noisy_gru.serving.client.event_loop_thread import EventLoopThread
from noisy_gru.serving.client.predictions import Predictions
from noisy_gru.serving.client.settings import OnError
from noisy_gru.serving.client.stream import Stream

T = TypeVar("T")


class Client(ClientCore):
    """A blocking client, for any number of threads. Its arguments are those of ``ClientSettings``.

    Its requests run in an event loop of its own thread. Open it in the process that uses it, not before a fork.
    """

    def _start(self) -> None:
        super()._start()
        # Opened here, so that the import does not count as time of a call, and a bad certificate is found now.
        self._transport = import_transport(self.connection.transport)(self.connection)
        self._thread = EventLoopThread("noisy-gru-client")
        # A client that nobody closed ends its thread, too.
        self._finalizer = weakref.finalize(self, self._thread.close)

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
        return self._run(self._predict(self.plan_data(data, on_error)))

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
        return self._run(self._predict(self.plan_examples(examples, ids, on_error)))

    def metadata(self) -> ModelMetadata:
        """Return the version that answers now, and its signatures.

        Raises:
            ServingError: the request failed.
        """
        return self._run(self._metadata())

    def status(self) -> list[VersionStatus]:
        """Return the versions that the server knows of, rising; only the chosen one, if it is chosen by number.

        Raises:
            ServingError: the request failed.
        """
        return self._run(self._status())

    def health(self) -> bool:
        """Return whether the server is healthy and answers for the model now; one attempt.

        Raises:
            ServingError: the server refuses the request.
        """
        return self._run(self._health())

    def stream(self) -> Stream:
        """Open a stream over the signature `serving_step`: each event is sent once. See ``serving.client.stream``.

        Raises:
            NotFound: the model has no such signature.
            ServingError: the request failed.
        """
        return Stream(self._run(self._open_states()), self._send, self._run)

    def close(self) -> None:
        """Close the connections, and cancel the requests of other threads; further calls do nothing."""
        if not self._closed:
            self._run(self._close())
        self._finalizer()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def _wait(self, seconds: float) -> None:
        # A clock of the caller's may block, and the loop must not.
        await (asyncio.sleep(seconds) if self.sleep is None else asyncio.to_thread(self.sleep, seconds))

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        if self._closed:
            coroutine.close()
            raise self._closed_error()
        try:
            return self._thread.run(coroutine)
        except CancelledError as error:
            raise self._closed_error() from error
