"""Answer streams with the signature `serving_default`: the last steps of each entity are kept and sent as a sequence.

An answer is that of ``noisy-gru predict`` to the entity's rows so far: for forecasting from the latest window, for
other tasks from the sequence of at most `data.max_length` steps. No version's state is kept, so a new version answers
from its first step on as if it had always been there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from noisy_gru.data.columns import Columns
from noisy_gru.data.events.event_reader import Event, RejectedEvent, Time
from noisy_gru.data.ingestion.report_checks import check_errors
from noisy_gru.data.reading.in_memory_tables import rows_source
from noisy_gru.data.report.quarantine import Quarantine
from noisy_gru.data.requests.origins import origins_of
from noisy_gru.data.requests.prediction_input import NO_FUTURE, read_rows, sequences_of_rows
from noisy_gru.data.requests.stream_steps import static_values_of
from noisy_gru.data.sequences.encoding import Encoder
from noisy_gru.data.sequences.rows import Rows
from noisy_gru.data.sequences.sequences import TOO_LONG, TOO_SHORT, Sequences
from noisy_gru.pipeline.streaming.answers import REFUSED, Answered, EventStep, StreamAnswer, answer_rows
from noisy_gru.pipeline.streaming.checkpoint import EntityState
from noisy_gru.pipeline.streaming.model_source import ModelSource
from noisy_gru.schema.config import DatasetConfig, ForecastingConfig
from noisy_gru.schema.errors import ConfigError
from noisy_gru.schema.task_config import is_per_step
from noisy_gru.serving.client.prediction_columns import Part
from noisy_gru.serving.client.settings import DEFAULT, EXAMPLES

# Rows of windows that are put together at a time.
_ROWS = 300_000
# Steps off the grid that a window may hold beside its own.
_OFF_GRID = 16
_NO_LETTER = frozenset({TOO_SHORT, TOO_LONG, NO_FUTURE})


@dataclass(frozen=True)
class _Window:
    """The rows (numbers from 1) up to a step, and the step."""

    rows: list[int]
    step: EventStep


class WindowAnswers:
    """Answers from the last steps of entities.

    Args:
        dataset: the configuration.
        model: asked with `serving_default`.

    Raises:
        ConfigError: the configuration can't be answered causally.
    """

    def __init__(self, dataset: DatasetConfig, model: ModelSource) -> None:
        columns = Columns.of(dataset, prediction=True)
        if columns.future == "rows":
            raise ConfigError(
                f"{', '.join(columns.known_in_advance)} (known_in_advance): a stream has no rows of the future. "
                "Calendars that are known in advance are computed with data.time.frequency and gaps: fill or split; "
                "for others send whole windows with predict"
            )
        if is_per_step(dataset.task):
            raise ConfigError(
                "task.per_step: a stream needs the signature serving_step for answers at each step: set "
                "model.serving_step: true, run the pipeline and publish the model again"
            )
        self._model = model
        # The first steps of an entity are always too few.
        policies = dataset.data.policies.model_copy(update={"too_short": "drop"})
        self._dataset = dataset.model_copy(update={"data": dataset.data.model_copy(update={"policies": policies})})
        self._wanted = columns.wanted()
        task, data = dataset.task, dataset.data
        if isinstance(task, ForecastingConfig):
            self._kept = task.input_length
        else:
            self._kept = data.max_length + (policies.too_long != "truncate")
        aligned = data.time is not None and data.time.align != "exact"
        self._on_grid = (data.time is not None and data.time.gaps != "ignore") or aligned
        self._merges = data.resample is not None

    def answer(self, steps: Sequence[EventStep], states: Mapping[str, EntityState]) -> Answered:
        """See ``Answering.answer``; all steps are answered in one call.

        Raises:
            DataError: a policy that says ``error`` has found a case.
        """
        found = Answered()
        if not steps:
            return found
        kept_rows: list[dict[str, object]] = []
        events: dict[int, Event] = {}  # by row number
        history: dict[str, list[list[int]]] = {}  # row numbers by step
        suspects: dict[str, list[int]] = {}
        windows: list[_Window] = []
        for step in steps:
            name = step.entity
            if name not in history:
                history[name], suspects[name] = [], []
                for _, rows in states[name].steps:
                    history[name].append(list(range(len(kept_rows) + 1, len(kept_rows) + len(rows) + 1)))
                    suspects[name].append(0)
                    kept_rows += rows
            numbers = []
            for event in step.events:
                kept_rows.append(event.row)
                numbers.append(len(kept_rows))
                events[len(kept_rows)] = event
            history[name].append(numbers)
            # A step that the policies may reject doesn't count as one of the window.
            suspects[name].append(int(len(numbers) > 1 and not self._merges))
            more = sum(suspects[name][-self._kept * 2 :]) + (_OFF_GRID if self._on_grid else 0)
            windows.append(_Window([row for each in history[name][-self._kept - more :] for row in each], step))
        source = rows_source(kept_rows, self._wanted)
        parsed = read_rows([source], self._dataset, Quarantine(), static_optional=True)
        if parsed is None:
            return found
        place_of = np.full(len(kept_rows) + 1, -1, np.int64)
        place_of[parsed.row] = np.arange(len(parsed))
        static = {name: states[name].static for name in history if states[name].static}
        rejected: set[int] = set()
        for part in _parts(windows):
            self._answer_part(part, parsed, place_of, static, states, events, rejected, found)
        for step in steps:
            state = states[step.entity]
            rows = [event.row for event in step.events if id(event) not in rejected]
            if rows:
                state.keep((step.step, rows), self._kept)
                state.time = step.step
        return found

    def _answer_part(
        self,
        windows: list[_Window],
        parsed: Rows,
        place_of: np.ndarray,
        static: dict[str, dict[str, float | str | None]],
        states: Mapping[str, EntityState],
        events: Mapping[int, Event],
        rejected: set[int],
        found: Answered,
    ) -> None:
        """Answer some windows; ``rejected`` receives the identities of rejected events."""
        # Each window is an entity of its own: names may repeat, since rows are grouped by code.
        lengths = [len(window.rows) for window in windows]
        index = place_of[np.concatenate([np.array(window.rows, np.int64) for window in windows])]
        code = np.repeat(np.arange(len(windows)), lengths)
        usable = index >= 0
        rows = replace(
            parsed.take(index[usable]), entities=[window.step.entity for window in windows], entity=code[usable]
        )
        quarantine = Quarantine()
        sequences = sequences_of_rows(rows, self._dataset, quarantine, static)
        check_errors(quarantine.report)
        for line in quarantine.lines:
            event = events.get(line["row"])
            if line["reason"] in _NO_LETTER or event is None or id(event) in rejected:
                continue
            rejected.add(id(event))
            found.rejected.append(RejectedEvent(event.message, line["reason"], line["problem"]))
        sequences = _up_to_their_steps(sequences, [window.step.step for window in windows])
        found.unanswered["no_window"] += len(windows) - len(sequences)
        if not len(sequences):
            return
        codes = sequences.rows.entity[sequences.start].tolist()
        encode = Encoder(sequences, self._dataset, prediction=True)
        names = [str(each) for each in codes]
        parts, refused = self._model.run(DEFAULT, {EXAMPLES: list(encode.examples())}, names)
        for each in refused:
            for event in windows[int(each.sequence_id)].step.events:
                if id(event) not in rejected:
                    rejected.add(id(event))
                    found.rejected.append(RejectedEvent(event.message, REFUSED, each.reason))
        version = self._model.version
        ids = dict(zip(names, sequences.ids, strict=True))
        times = {name: windows[int(name)].step.step for name in names}
        origins = origins_of(sequences, self._dataset)
        outputs = [Part(part.ids, part.outputs, version) for _, part in parts]
        for name, row in answer_rows(outputs, ids, origins, self._dataset, times):
            found.answers.append(StreamAnswer(windows[int(name)].step, row))
        for place, each in enumerate(codes):
            if values := static_values_of(sequences.rows, int(sequences.start[place]), self._dataset):
                states[windows[each].step.entity].static = values


def _parts(windows: list[_Window]) -> Iterator[list[_Window]]:
    part: list[_Window] = []
    size = 0
    for window in windows:
        if part and size + len(window.rows) > _ROWS:
            yield part
            part, size = [], 0
        part.append(window)
        size += len(window.rows)
    if part:
        yield part


def _up_to_their_steps(sequences: Sequences, steps: list[Time]) -> Sequences:
    """Return the sequences whose last step is the one that is answered, at most one of each window."""
    rows = sequences.rows
    codes = rows.entity[sequences.start] if len(sequences) else np.zeros(0, np.int64)
    last = rows.time[sequences.stop - 1] if len(sequences) else np.zeros(0)
    return sequences.take(last == np.array(steps, rows.time.dtype)[codes])
