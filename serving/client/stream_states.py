"""The model's state of each entity of a stream, and the requests that advance it; see ``serving.client.stream``."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from noisy_gru.data.report.ingestion_report import IngestionReport
from noisy_gru.data.requests.origins import origins_of_entities
from noisy_gru.data.requests.stream_steps import StreamSteps, Time, read_stream_steps
from noisy_gru.schema.errors import DataError
from noisy_gru.serving.client.calls import MetadataCall, ModelChoice, ModelMetadata, PredictCall
from noisy_gru.serving.client.errors import NotFound, ServingError
from noisy_gru.serving.client.prediction_columns import Part
from noisy_gru.serving.client.predictions import Predictions
from noisy_gru.serving.client.request_flow import BatchResult, Send, predict_batch, send
from noisy_gru.serving.client.requests import batches, sources_of

if TYPE_CHECKING:
    from noisy_gru.serving.client.settings import ClientSettings

STEP, STATE, FEATURES = "serving_step", "state", "features"
_LARGEST = 1e9  # no state holds a larger number: counts of steps, marks up to 2**24, hidden units, scaled targets


async def open_states(settings: ClientSettings, send_call: Send) -> States:
    """Return empty states for the version that answers now: a state means nothing to another version.

    Raises:
        NotFound: the model has no signature `serving_step`.
    """
    metadata: ModelMetadata = await send(MetadataCall(settings.model), send_call)
    signature = metadata.signatures.get(STEP)
    target = settings.connection.target
    if signature is None:
        raise NotFound(
            f"{target}: {settings.model} has no signature {STEP}, only {', '.join(metadata.signatures)}. Set "
            "model.serving_step: true in the configuration, run the pipeline and publish the model again",
            code="NOT_FOUND",
        )
    channels = [feature.name for feature in settings.dataset.data.numeric]
    state, features = signature.inputs.get(STATE), signature.inputs.get(FEATURES)
    width = state.shape[-1] if state is not None and state.shape else None
    if width is None:
        raise ServingError(f"{target}: {STEP} of {settings.model} has no state size", code="INTERNAL")
    taken = features.shape[-1] if features is not None and features.shape else None
    if taken not in (None, len(channels)):
        raise ServingError(
            f"{target}: {settings.model} takes {taken} numeric features, the configuration has {len(channels)} "
            f"({', '.join(channels)}). Is it a model of this configuration?",
            code="INVALID_ARGUMENT",
        )
    return States(settings, settings.model.at(metadata.version), width)


@dataclass(frozen=True)
class _Entity:
    """The model's state of an entity, float32 [S], the time of its last step, and its static values by column."""

    vector: np.ndarray
    time: Time | None
    static: dict[str, float | str | None] = field(default_factory=dict)


def _float32(name: str, values: Any) -> np.ndarray:
    """An entity's numbers as float32; DataError for what has no such numbers."""
    try:
        given = np.asarray(values)
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError(f"entity {name}: expected an array of numbers, received none: {error}") from error
    if given.dtype.kind not in "fiub":
        raise DataError(
            f"entity {name}: expected an array of numbers, NaN where one is missing; received {given.dtype}"
        )
    with np.errstate(over="ignore"):
        array = given.astype(np.float32)
    if (np.isfinite(given) & ~np.isfinite(array)).any():
        raise DataError(f"entity {name}: a number is beyond float32 (3.4e38). Send NaN for a missing value")
    return array


class States:
    """The states of a stream's entities.

    Args:
        settings: of the client.
        model: the version that the states belong to.
        width: S, the numbers of a state.
    """

    def __init__(self, settings: ClientSettings, model: ModelChoice, width: int) -> None:
        self._settings, self.model, self.width = settings, model, width
        self._entities: dict[str, _Entity] = {}

    @property
    def entities(self) -> list[str]:
        """The known entities."""
        return list(self._entities)

    def read(self, data: Any) -> StreamSteps:
        """The new steps in data; see ``Stream.send``."""
        dataset = self._settings.dataset
        before = {name: entity.time for name, entity in self._entities.items()}
        channels = [feature.name for feature in dataset.data.numeric]
        static = {name: entity.static for name, entity in self._entities.items()}
        return read_stream_steps(sources_of(data, dataset), dataset, before, channels, static)

    def take(self, arrays: Mapping[str, Any]) -> StreamSteps:
        """The new steps in arrays; see ``Stream.send_arrays``."""
        data = self._settings.dataset.data
        others = [feature.name for feature in data.features if feature.kind == "categorical" or feature.static]
        if others:
            raise DataError(f"arrays hold no {', '.join(others)}: send rows")
        channels = [feature.name for feature in data.numeric]
        found = {}
        if not isinstance(arrays, Mapping):
            raise DataError(f"expected a mapping of entity to array, received {type(arrays).__name__}")
        for name, values in arrays.items():
            array = _float32(name, values)
            array = array[np.newaxis] if array.ndim == 1 else array
            if array.ndim != 2 or array.shape[1] != len(channels):
                raise DataError(
                    f"entity {name}: expected an array [steps, {len(channels)}] of {', '.join(channels)}, received the "
                    f"shape {list(np.shape(values))}"
                )
            found[name] = array
        lengths = np.array([len(array) for array in found.values()], np.int64)
        features = np.zeros((len(found), max(int(lengths.max(initial=0)), 1), len(channels)), np.float32)
        for place, array in enumerate(found.values()):
            features[place, : len(array)] = array
        times = [self._entities[name].time if name in self._entities else None for name in found]
        tensors = {FEATURES: features, "lengths": lengths}
        return StreamSteps(list(found), tensors, times, np.zeros(len(found), bool), IngestionReport(), [])

    async def advance(self, steps: StreamSteps, send_call: Send) -> Predictions:
        """Send steps; when all of them are answered, the states become those after the steps."""
        settings = self._settings
        vectors = np.zeros((len(steps.ids), self.width), np.float32)
        for place, name in enumerate(steps.ids):
            known = self._entities.get(name)
            if known is not None and not steps.restarted[place]:
                vectors[place] = known.vector
        call = PredictCall(self.model, STEP, {**steps.tensors, STATE: vectors}, steps.ids)
        parts, after = [], {}
        for first, batch in batches(call, settings.batch_size, settings.largest_request) if steps.ids else ():
            received, _ = await self._predict(batch, range(first, first + len(batch.ids)), send_call)
            for begin, part in received:
                outputs = dict(part.outputs)
                new = self._new_states(outputs.pop(STATE, None), len(part.ids))
                parts.append(Part(part.ids, outputs, part.version))
                for place, name in enumerate(part.ids):
                    # A copy: a view would keep the whole batch.
                    static = steps.static[begin + place] if steps.static else {}
                    after[name] = _Entity(new[place].astype(np.float32), steps.times[begin + place], static)
        unused = steps.report.quarantined + steps.report.dropped
        predictions = Predictions(
            settings.dataset.task,
            parts,
            unusable=steps.unusable,
            unused=unused,
            origins=origins_of_entities(steps.ids, settings.dataset, steps.step_times),
            places={name: place for place, name in enumerate(steps.ids)},
        )
        predictions.answers  # noqa: B018 (an answer that can't be read is a call that failed)
        self._entities.update(after)
        return predictions

    async def _predict(self, call: PredictCall, places: Sequence[int], send_call: Send) -> BatchResult:
        target = self._settings.connection.target
        try:
            return await predict_batch(call, send_call, target=target, collect=False, places=places)
        except NotFound as error:
            raise NotFound(
                f"{error}. The states of this stream are those of {self.model}, and mean nothing to another version: "
                "open a new stream, and send each entity's history",
                code=error.code,
                details=error.details,
            ) from error

    def _new_states(self, states: np.ndarray | None, count: int) -> np.ndarray:
        if states is None or states.shape != (count, self.width):
            had = "no state" if states is None else f"states of the shape {list(states.shape)}"
            raise ServingError(
                f"{self._settings.connection.target}: {STEP} of {self.model} returned {had}; expected "
                f"{[count, self.width]}",
                code="INTERNAL",
            )
        return states

    def state_dict(self, entities: Iterable[str] | None) -> dict[str, Any]:
        """The states as JSON can hold them; see ``Stream.state_dict``."""
        names = self.entities if entities is None else list(entities)
        unknown = [name for name in names if name not in self._entities]
        if unknown:
            raise DataError(f"there is no state of {', '.join(unknown)}")
        found = {}
        for name in names:
            entity = self._entities[name]
            raw = entity.vector.astype("<f4").tobytes()
            found[name] = {
                "state": base64.b64encode(raw).decode("ascii"),
                "crc32": zlib.crc32(raw),
                "time": entity.time,
                **({"static": entity.static} if entity.static else {}),
            }
        return {"model": self.model.name, "version": self.model.version, "entities": found}

    def load_state_dict(self, states: Mapping[str, Any]) -> None:
        """Put states back; see ``Stream.load_state_dict``."""
        try:
            origin = (states["model"], states["version"])
            found, damaged = {}, []
            for name, entity in states["entities"].items():
                raw = base64.b64decode(entity["state"], validate=True)
                vector = np.frombuffer(raw, "<f4").astype(np.float32)
                found[name] = _Entity(vector, entity["time"], dict(entity.get("static") or {}))
                # States of before the checksum have none.
                good = entity.get("crc32", zlib.crc32(raw)) == zlib.crc32(raw)
                if not (good and np.isfinite(vector).all() and np.abs(vector).max(initial=0.0) <= _LARGEST):
                    damaged.append(name)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"expected the result of state_dict(), received something else: {error!r}") from error
        if damaged:
            raise DataError(
                f"the states of {', '.join(map(str, damaged))} are not those that state_dict() returned: their numbers "
                "have changed. Leave them out, and send the history of these entities again"
            )
        if origin != (self.model.name, self.model.version):
            raise DataError(
                f"these states are of model {origin[0]}, version {origin[1]}; this stream is of {self.model}. A state "
                "means nothing to another version: choose that version (model_version), or send each "
                "entity's history again"
            )
        wrong = [name for name, entity in found.items() if len(entity.vector) != self.width]
        if wrong:
            raise DataError(f"the states of {', '.join(wrong)} have another size than {self.width}, the model's")
        self._entities.update(found)

    def forget(self, entities: Iterable[str]) -> None:
        """Drop states."""
        for name in entities:
            self._entities.pop(name, None)
