"""Answer streams with the signature `serving_step`: the model's state of each entity is kept, and each step read once.

The states of a version mean nothing to another one. When the version changes, the kept steps of an entity are read by
the new version from the start, before its next step is answered; without kept steps it begins with a state of zeros.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from noisy_gru.data.columns import Columns
from noisy_gru.data.events.event_reader import RejectedEvent
from noisy_gru.data.reading.in_memory_tables import rows_source
from noisy_gru.data.report.quarantine import Quarantine
from noisy_gru.data.requests.origins import Origins, joined_columns
from noisy_gru.data.requests.prediction_input import read_rows
from noisy_gru.data.requests.stream_steps import StreamSteps, check_streamable, steps_of_stream_rows
from noisy_gru.pipeline.streaming.answers import REFUSED, Answered, EventStep, StreamAnswer, answer_rows
from noisy_gru.pipeline.streaming.checkpoint import EntityState
from noisy_gru.pipeline.streaming.model_source import ModelSource, Results
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import ModelError, UserError
from noisy_gru.serving.client.prediction_columns import Part
from noisy_gru.serving.client.stream_states import STATE
from noisy_gru.serving.client.stream_states import STEP as STEP_SIGNATURE

_REPLAYED_ENTITIES = 256


class StepAnswers:
    """Answers from the model's states.

    Args:
        dataset: the configuration, of a classification or a regression.
        model: with the signature `serving_step`.
        kept_steps: steps that are kept of each entity, to be read by a new version.

    Raises:
        DataError: a feature needs steps that aren't kept.
        UserError: the model can't be asked step by step.
    """

    def __init__(self, dataset: DatasetConfig, model: ModelSource, kept_steps: int) -> None:
        check_streamable(dataset)
        self._dataset, self._model, self._kept = dataset, model, kept_steps
        self._wanted = Columns.of(dataset, prediction=True).wanted()
        self._channels = [feature.name for feature in dataset.data.numeric]
        self._width_of: tuple[int, int] | None = None  # version and width
        self._width()

    def answer(self, steps: Sequence[EventStep], states: Mapping[str, EntityState]) -> Answered:
        """See ``Answering.answer``; each step is a call of its own, with those of other entities.

        Raises:
            DataError: a policy that says ``error`` has found a case.
        """
        found = Answered()
        if not steps:
            return found
        self._replay({step.entity: states[step.entity] for step in steps})
        events = [event for step in steps for event in step.events]
        turns: dict[str, int] = {}
        rounds: list[dict[str, EventStep]] = []
        turn_of_row: list[int] = []
        for step in steps:
            turn = turns[step.entity] = turns.get(step.entity, -1) + 1
            if turn == len(rounds):
                rounds.append({})
            rounds[turn][step.entity] = step
            turn_of_row += [turn] * len(step.events)
        source = rows_source([event.row for event in events], self._wanted)
        rows = read_rows([source], self._dataset, Quarantine(), static_optional=True)
        if rows is None:
            return found
        turn_of = np.array(turn_of_row)[rows.row - 1]
        for turn, asked in enumerate(rounds):
            quarantine = Quarantine()
            read = steps_of_stream_rows(
                rows.take(np.flatnonzero(turn_of == turn)),
                [source],
                self._dataset,
                {name: states[name].time for name in asked},
                self._channels,
                {name: states[name].static for name in asked if states[name].steps or states[name].static},
                quarantine,
            )
            rejected = {line["row"] for line in quarantine.lines}
            for line in quarantine.lines:
                message = events[line["row"] - 1].message
                found.rejected.append(RejectedEvent(message, line["reason"], line["problem"]))
            found.unanswered += quarantine.report.dropped
            unusable = {id(events[row - 1]) for row in rejected}
            self._advance(read, asked, states, unusable, found)
        return found

    def _advance(
        self,
        read: StreamSteps,
        asked: Mapping[str, EventStep],
        states: Mapping[str, EntityState],
        unusable: set[int],
        found: Answered,
    ) -> None:
        parts, refused = self._run(read, states)
        for each in refused.values():
            step = asked[each[0]]
            found.rejected += [
                RejectedEvent(event.message, REFUSED, each[1]) for event in step.events if id(event) not in unusable
            ]
        times = {name: time for name, time in zip(read.ids, read.times, strict=True) if time is not None}
        kind = self._dataset.data.time.kind if self._dataset.data.time else "integer"
        origins = Origins(read.ids, None, kind, joined_columns(self._dataset), read.step_times)
        for name, row in answer_rows(parts, {name: name for name in read.ids}, origins, self._dataset, times):
            found.answers.append(StreamAnswer(asked[name], row))
        for place, name in enumerate(read.ids):
            if name in refused:
                continue
            state, step = states[name], asked[name]
            state.static = read.static[place] if read.static else {}
            rows = [event.row for event in step.events if id(event) not in unusable]
            state.keep((step.step, rows), self._kept)

    def _run(
        self, read: StreamSteps, states: Mapping[str, EntityState]
    ) -> tuple[list[Part], dict[str, tuple[str, str]]]:
        """Run the new steps; set vectors and times. Returns the outputs, and the refused entities with the reason."""
        width, version = self._width(), self._model.version
        vectors = np.zeros((len(read.ids), width), np.float32)
        for place, name in enumerate(read.ids):
            vector = states[name].vector
            if vector is not None and not read.restarted[place]:
                if len(vector) != width:
                    raise UserError(f"the checkpoint's state of {name} has {len(vector)} numbers, the model's {width}")
                vectors[place] = vector
        if not read.ids:
            return [], {}
        results: Results = self._model.run(STEP_SIGNATURE, {**read.tensors, STATE: vectors}, read.ids)
        parts = []
        for first, part in results[0]:
            outputs = dict(part.outputs)
            after = outputs.pop(STATE, None)
            if after is None or after.shape != (len(part.ids), width):
                had = "no state" if after is None else f"states of the shape {list(after.shape)}"
                raise ModelError(
                    f"{STEP_SIGNATURE} of version {version} returned {had}; expected {[len(part.ids), width]}"
                )
            parts.append(Part(part.ids, outputs, version))
            for place, name in enumerate(part.ids):
                state = states[name]
                # A copy: a view would keep the whole batch.
                state.vector, state.version = after[place].astype(np.float32), version
                state.time = read.times[first + place]
        return parts, {each.sequence_id: (each.sequence_id, each.reason) for each in results[1]}

    def _replay(self, states: Mapping[str, EntityState]) -> None:
        """Bring states of other versions to what this version makes of the kept steps."""
        version = self._model.version
        old = {name: state for name, state in states.items() if state.version not in (None, version)}
        names = list(old)
        for first in range(0, len(names), _REPLAYED_ENTITIES):
            part = {name: old[name] for name in names[first : first + _REPLAYED_ENTITIES]}
            for state in part.values():
                state.vector = state.version = None
            kept = [row for state in part.values() for _, rows in state.steps for row in rows]
            if not kept:
                continue
            source = rows_source(kept, self._wanted)
            rows = read_rows([source], self._dataset, Quarantine(), static_optional=True)
            static = {name: state.static for name, state in part.items()}
            read = steps_of_stream_rows(rows, [source], self._dataset, {}, self._channels, static, Quarantine())
            self._run(read, part)

    def _width(self) -> int:
        """Return how many numbers a state of this version has."""
        version = self._model.version
        if self._width_of is not None and self._width_of[0] == version:
            return self._width_of[1]
        signature = self._model.signatures.get(STEP_SIGNATURE)
        if signature is None:
            raise UserError(
                f"version {version} has no signature {STEP_SIGNATURE}, only {', '.join(self._model.signatures)}. Set "
                "model.serving_step: true in the configuration, run the pipeline and publish the model again"
            )
        features, state = signature.inputs.get("features"), signature.inputs.get(STATE)
        taken = features.shape[-1] if features is not None and features.shape else None
        width = state.shape[-1] if state is not None and state.shape else None
        if width is None or taken not in (None, len(self._channels)):
            raise ModelError(
                f"version {version} takes {taken} numeric features and a state of {width} numbers; the configuration "
                f"has {len(self._channels)} ({', '.join(self._channels)}). Is it a model of this configuration?"
            )
        self._width_of = version, width
        return width
