"""The model that answers a stream: the published one in a Session of this machine, or a server's.

Both are asked again and again whether there is a newer version, and then go over to it between two batches.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from noisy_gru.pipeline.batch_prediction.published_model import BATCH, load_model
from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.pipeline.prediction import Server
from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.registry.published_versions import versions
from noisy_gru.saved_model.session import Signature
from noisy_gru.saved_model.session_process import ProcessEndedError, SessionProcess
from noisy_gru.schema.errors import ConfigError, ModelError, UserError
from noisy_gru.serving.client.calls import Call, Inputs, ModelChoice, PredictCall, PredictReply
from noisy_gru.serving.client.core import run_blocking
from noisy_gru.serving.client.errors import InvalidRequest, NotFound, Refused
from noisy_gru.serving.client.prediction_columns import Part
from noisy_gru.serving.client.request_flow import predict_batch
from noisy_gru.serving.client.requests import batches

CHECK_SECONDS = 5.0
_LARGEST = 64 << 20
Results = tuple[list[tuple[int, Part]], list[Refused]]


class ModelSource(Protocol):
    """A version of a model, and newer ones as they are published."""

    @property
    def version(self) -> int:
        """The version that answers now."""
        ...

    @property
    def signatures(self) -> dict[str, Signature]:
        """The signatures of this version, by name."""
        ...

    def refresh(self) -> bool:
        """Go over to the newest version, if there is another one; return whether there is."""
        ...

    def run(self, signature: str, inputs: Inputs, ids: list[str]) -> Results:
        """Return the outputs of sequences with the place of the first of each part, and those that are refused."""
        ...

    def close(self) -> None:
        """Release the model."""
        ...


class _Closing:
    def close(self) -> None:
        raise NotImplementedError

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()


class PublishedModel(_Closing):
    """The latest version under a root, in a Session in a process of its own.

    Args:
        root: of the runs.
        model_name: the model's.
        loading: a context in which newer versions are loaded, which redirects what TensorFlow prints.
        clock: seconds, of any beginning.

    Raises:
        UserError: there is none, or it can't be loaded.
    """

    def __init__(
        self,
        root: Path,
        model_name: str,
        *,
        loading: Callable[[], AbstractContextManager[Any]] = nullcontext,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._root, self._name, self._clock, self._loading = root, model_name, clock, loading
        self._folder = RunDirectory(root).serving / model_name
        self._model: SessionProcess = load_model(root, model_name, None)
        self._checked, self._broken = clock(), -1

    def __enter__(self) -> PublishedModel:
        return self

    @property
    def version(self) -> int:
        """The version that is loaded."""
        return int(self._model.directory.name)

    @property
    def signatures(self) -> dict[str, Signature]:
        """The signatures of this version, by name."""
        return self._model.signatures

    def refresh(self) -> bool:
        """Load the latest version if another one is; one that can't be loaded is reported, and left out."""
        if self._clock() < self._checked + CHECK_SECONDS:
            return False
        self._checked = self._clock()
        found = versions(self._folder)
        if not found or found[-1] in (self.version, self._broken):
            return False
        try:
            with self._loading():
                model = load_model(self._root, self._name, None)
        except ModelError as error:
            self._broken = found[-1]
            print(f"version {found[-1]} can't be loaded, {self.version} goes on: {error}", file=sys.stderr)
            return False
        before, self._model = self._model, model
        before.close()
        return True

    def run(self, signature: str, inputs: Inputs, ids: list[str]) -> Results:
        """Run the model, in batches as ``predict`` has them.

        Raises:
            ModelError: the model's process ended.
        """

        async def send(call: Call) -> PredictReply:
            if not isinstance(call, PredictCall):
                raise TypeError(f"a Session answers predictions, not {call}")
            try:
                return PredictReply(self._model.run(call.signature, call.inputs), self.version)
            except ProcessEndedError:
                raise
            except ModelError as error:
                raise InvalidRequest(str(error), code="INVALID_ARGUMENT", details=str(error)) from error

        found: Results = ([], [])
        choice = ModelChoice(self._name, self.version)
        for first, batch in batches(PredictCall(choice, signature, inputs, ids), BATCH, _LARGEST):
            places = range(first, first + len(batch.ids))
            result = predict_batch(batch, send, target="the published model", collect=True, places=places)
            parts, refused = run_blocking(result)
            found[0].extend(parts)
            found[1].extend(refused)
        return found

    def close(self) -> None:
        """End the model's process."""
        self._model.close()


class ServerModel(_Closing):
    """The version that a server has, over gRPC.

    Raises:
        UserError: the server doesn't respond, or reports no version.
    """

    def __init__(self, server: Server, config: PipelineConfig, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._client, self._target, self._clock = server.client(config, None), server.target, clock
        if self._client.connection.transport == "rest":
            raise ConfigError(
                f"--server {server.target}: expected HOST:PORT of gRPC, since REST's answers don't report the version"
            )
        self._version, self._signatures = self._ask()

    def __enter__(self) -> ServerModel:
        return self

    @property
    def version(self) -> int:
        """The version that is asked."""
        return self._version

    @property
    def signatures(self) -> dict[str, Signature]:
        """The signatures of this version, by name."""
        return self._signatures

    def _ask(self) -> tuple[int, dict[str, Signature]]:
        metadata = self._client.metadata()
        self._checked = self._clock()
        if metadata.version is None:
            raise UserError(f"{self._target}: the server doesn't report the version of {self._client.model}")
        return metadata.version, metadata.signatures

    def refresh(self) -> bool:
        """Go over to the version that the server has now."""
        if self._clock() < self._checked + CHECK_SECONDS:
            return False
        before = self._version
        self._version, self._signatures = self._ask()
        return self._version != before

    def run(self, signature: str, inputs: Inputs, ids: list[str]) -> Results:
        """Ask the server for this version.

        Raises:
            VersionGone: the server has it no longer; ``refresh`` takes the one that it has.
            ServingError: the request failed.
        """
        try:
            return self._client.run(signature, inputs, ids, version=self._version)
        except NotFound as error:
            self._checked = float("-inf")
            raise VersionGone(str(error)) from error

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


class VersionGone(UserError):
    """The version that states belong to is no longer there."""
