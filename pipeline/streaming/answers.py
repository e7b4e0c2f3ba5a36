"""What both ways of answering a stream have in common: steps of entities in, answers as rows out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from noisy_gru.data.events.event_reader import Event, RejectedEvent, Time
from noisy_gru.data.requests.origins import Origins
from noisy_gru.data.values.parsing import format_times
from noisy_gru.pipeline.streaming.checkpoint import EntityState
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.task_config import is_per_step
from noisy_gru.serving.client.prediction_columns import SEQUENCE_ID, STEP, TIME, Part
from noisy_gru.serving.client.prediction_tables import ENTITY, plain_rows
from noisy_gru.serving.client.predictions import Predictions

REFUSED = "refused_by_model"


@dataclass(frozen=True)
class EventStep:
    """The events of an entity that make one step: of the same time, or of the same step of a grid."""

    entity: str
    step: Time
    events: list[Event]


@dataclass(frozen=True)
class StreamAnswer:
    """An answer as a row of `predict --layout wide`, and the step that it belongs to."""

    step: EventStep
    row: dict[str, Any]


@dataclass
class Answered:
    """The answers to steps, the events that were rejected, and counts of what gave no answer, by reason."""

    answers: list[StreamAnswer] = field(default_factory=list)
    rejected: list[RejectedEvent] = field(default_factory=list)
    unanswered: Counter[str] = field(default_factory=Counter)


class Answering(Protocol):
    """A way of answering the steps of entities from what is kept of them."""

    def answer(self, steps: Sequence[EventStep], states: Mapping[str, EntityState]) -> Answered:
        """Answer steps, those of an entity in order, and bring the states to those after them."""
        ...


def answer_rows(
    parts: Sequence[Part], ids: Mapping[str, str], origins: Origins, dataset: DatasetConfig, times: Mapping[str, Time]
) -> list[tuple[str, dict[str, Any]]]:
    """Return answers as rows, each with the name that its part has for it.

    Args:
        parts: the model's outputs under unique names.
        ids: the sequence id for each name, in the order of ``origins``.
        origins: of the sequences.
        dataset: the configuration.
        times: of the step that each name answers, in the unit of times.

    Raises:
        ModelError: the outputs are not those of the task.
    """
    places = {name: place for place, name in enumerate(ids)}
    predictions = Predictions(dataset.task, parts, origins=origins, places=places)
    rows = []
    time = dataset.data.time
    kind = time.kind if time is not None else "integer"
    names = list(times)
    typed = np.array(list(times.values()), np.float64 if kind == "float" else np.int64)
    texts = dict(zip(names, format_times(typed, kind), strict=True))
    for row in plain_rows(predictions.to_arrow("wide")):
        name = row.pop(SEQUENCE_ID)
        if is_per_step(dataset.task):
            row.pop(STEP)  # counts within the call
        before = {SEQUENCE_ID: ids[name], ENTITY: row.pop(ENTITY), TIME: row.pop(TIME, texts[name])}
        rows.append((name, {**before, **row}))
    return rows
