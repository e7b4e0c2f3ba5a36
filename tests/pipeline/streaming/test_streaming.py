"""Streams over a broker in memory: order, late and bad events, kills anywhere, versions, windows."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noisy_gru.data.events.event_reader import EventReader
from noisy_gru.pipeline.streaming.event_log import TransactionAborted
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import ConfigError, DataError, UserError
from tests.pipeline.streaming.memory_log import Killed, MemoryBroker, PythonModel, by_entity, stream


def dataset(task: dict[str, Any] | None = None, **data: Any) -> DatasetConfig:
    keys = {"files": ["*.csv"], "entity": "id", "time": {"column": "t"}, "features": ["x", "z"], **data}
    return DatasetConfig.model_validate({"data": keys, "task": task or {"kind": "regression", "label": "y"}})


REGRESSION = dataset()
FORECAST = dataset({"kind": "forecasting", "targets": ["x"], "input_length": 3, "horizons": [1]})


def event(name: str, time: Any, x: Any = 1, z: Any = 0) -> dict[str, Any]:
    return {"id": name, "t": time, "x": x, "z": z}


Sent = dict[str, Any] | bytes


def expected(
    sent: list[Sent], lateness: int, answer: Any
) -> tuple[dict[str, list[tuple[str, float]]], list[tuple[int, str]]]:
    """Answers by entity and dead letters (offset, reason), by the rules in docs/streams.md, event by event."""
    watermark: float = float("-inf")
    kept: list[tuple[int, int, dict[str, Any]]] = []
    letters = []
    for offset, each in enumerate(sent):
        if isinstance(each, bytes):
            letters.append((offset, "unparsable_value"))
        elif each["t"] < watermark:
            letters.append((offset, "late_event"))
        else:
            kept.append((each["t"], offset, each))
            watermark = max(watermark, each["t"] - lateness)
    series: dict[str, list[tuple[int, float]]] = {}
    done = sorted(each for each in kept if each[0] < watermark)
    for name, time in dict.fromkeys((each["id"], time) for time, _, each in done):
        same = [(offset, each["x"]) for at, offset, each in done if each["id"] == name and at == time]
        values = {x for _, x in same}
        if len(values) == 1:
            series.setdefault(name, []).append((time, values.pop()))
            continue
        first: dict[int, int] = {}
        for offset, x in same:
            first.setdefault(x, offset)
        letters += [(offset, "duplicate_step") for offset in first.values()]
    return {name: found for name, steps in series.items() if (found := answer(steps))}, sorted(letters)


def means(steps: list[tuple[int, float]]) -> list[tuple[str, float]]:
    return [(str(time), sum(x for _, x in steps[: place + 1]) / (place + 1)) for place, (time, _) in enumerate(steps)]


def means_of_three(steps: list[tuple[int, float]]) -> list[tuple[str, float]]:
    return [
        (str(time), sum(x for _, x in steps[place - 2 : place + 1]) / 3)
        for place, (time, _) in enumerate(steps)
        if place >= 2
    ]


def letters_of(broker: MemoryBroker) -> list[tuple[int, str]]:
    return sorted((letter.message.offset, letter.headers["reason"]) for letter in broker.dead_letters)


def rounded(answers: dict[str, list[tuple[Any, float]]]) -> dict[str, list[tuple[str, float]]]:
    return {name: [(str(time), round(value, 3)) for time, value in steps] for name, steps in answers.items()}


events = st.one_of(
    st.builds(event, st.sampled_from("ab"), st.integers(0, 12), st.integers(0, 3)),
    st.sampled_from([b"{", b'{"id": "a", "t": "soon", "x": 1, "z": 0}', b"[1]", b'{"t": 3, "x": 1, "z": 0}']),
)


class Faults:
    """Kills and aborts at random points, at most so many."""

    def __init__(self, seed: int, most: int) -> None:
        self.random, self.left = random.Random(seed), most

    def __call__(self, point: str) -> None:
        if point != "close" and self.left and self.random.random() < 0.4:
            self.left -= 1
            raise self.random.choice([Killed, TransactionAborted])(point)


@pytest.mark.parametrize(
    ("config", "answer", "column"),
    [(REGRESSION, means, "y"), (FORECAST, means_of_three, "x@1")],
    ids=["steps", "windows"],
)
@given(
    sent=st.lists(events, max_size=25),
    lateness=st.integers(0, 5),
    seed=st.integers(0, 2**16),
    kills=st.integers(0, 12),
)
@settings(max_examples=60)
def test_answers_do_not_depend_on_batches_kills_and_restarts(config, answer, column, sent, lateness, seed, kills):
    broker = MemoryBroker()
    for each in sent:
        broker.send(each)
    faults, sizes = Faults(seed, kills), random.Random(seed)
    while True:
        try:
            # Each attempt is another process: nothing but the broker stays.
            model = PythonModel(step=config is REGRESSION)
            stream(broker, config, model, lateness=str(lateness), fault=faults, most=lambda: sizes.randint(1, 6))
            break
        except Killed:
            continue
    answers, letters = expected(sent, lateness, answer)
    assert rounded(by_entity(broker.answers, column)) == rounded(answers)
    assert letters_of(broker) == letters


def test_an_event_waits_for_the_watermark():
    broker = MemoryBroker()
    for time in (5, 3, 9):
        broker.send(event("a", time, time))
    stream(broker, REGRESSION, PythonModel(), lateness="4")
    assert [answer["time"] for answer in broker.answers] == ["3"]
    assert sorted(key for key in broker.checkpoints[0] if key.startswith(b"held:")) == [b"held:0", b"held:2"]
    broker.send(event("a", 14))
    broker.send(event("a", 9, 7))  # the watermark is 10
    stream(broker, REGRESSION, PythonModel(), lateness="4")
    assert by_entity(broker.answers, "y") == {"a": [("3", 3.0), ("5", 4.0), ("9", pytest.approx(17 / 3))]}
    assert letters_of(broker) == [(4, "late_event")]
    assert "--lateness" in broker.dead_letters[0].headers["problem"]
    assert broker.dead_letters[0].message.value == json.dumps(event("a", 9, 7)).encode()


def test_an_answer_has_what_predict_has_with_the_event_time():
    broker = MemoryBroker()
    for time in range(4):
        broker.send(event("a", time, time))
    stream(broker, FORECAST, PythonModel(step=False))
    assert broker.answers == [
        {"sequence_id": "a@2", "entity": "a", "time": "2", "x@1": 1.0, "time@1": None, "model_version": 1}
    ]


def test_a_new_version_reads_the_kept_steps():
    versions = iter([1, 1, 2, 2, 2])
    model = PythonModel(lambda: next(versions))
    broker = MemoryBroker()
    for time in range(4):
        broker.send(event("a", time, time + 1))
    # Of the first batch the events 0 and 1 are answered, of the second 2.
    sizes = iter([3, 1, 1])
    stream(broker, REGRESSION, model, kept_steps=1, most=lambda: next(sizes))
    assert [(answer["y"], answer["model_version"]) for answer in broker.answers] == [
        (1.0, 1),
        (1.5, 1),
        (2 * (2 + 3) / 2, 2),  # of the last kept step and the new one
    ]


def test_without_kept_steps_a_new_version_begins_anew():
    versions = iter([1, 1, 2, 2])
    broker = MemoryBroker()
    for time in range(4):
        broker.send(event("a", time, time + 1))
    sizes = iter([3, 1, 1])
    stream(broker, REGRESSION, PythonModel(lambda: next(versions)), kept_steps=0, most=lambda: next(sizes))
    assert [answer["y"] for answer in broker.answers] == [1.0, 1.5, 6.0]


def test_windows_are_of_the_version_that_answers():
    versions = iter([1, 1, 2, 2])
    broker = MemoryBroker()
    for time in range(5):
        broker.send(event("a", time, 1))
    sizes = iter([4, 1, 1])
    stream(broker, FORECAST, PythonModel(lambda: next(versions), step=False), most=lambda: next(sizes))
    assert [(answer["x@1"], answer["model_version"]) for answer in broker.answers] == [(1.0, 1), (2.0, 2)]


def test_a_step_of_resample_is_answered_when_it_is_complete():
    config = dataset(
        time={"column": "t", "frequency": "10", "kind": "integer"},
        resample={"frequency": "10", "aggregate": {"x": "sum"}},
    )
    broker = MemoryBroker()
    for time in (0, 4, 12, 9, 21):  # 9 comes late, but its step is over only at 20
        broker.send(event("a", time, 1))
    stream(broker, config, PythonModel(), lateness="5")
    assert by_entity(broker.answers, "y") == {"a": [("0", 3.0)]}
    broker.send(event("a", 40))
    stream(broker, config, PythonModel(), lateness="5")
    assert by_entity(broker.answers, "y") == {"a": [("0", 3.0), ("10", 2.0), ("20", pytest.approx(5 / 3))]}
    assert not broker.dead_letters


def test_a_filled_gap_is_read_as_missing_steps():
    config = dataset(time={"column": "t", "frequency": "1", "gaps": "fill"})
    broker = MemoryBroker()
    for time in (0, 3, 4):
        broker.send(event("a", time, 4))
    stream(broker, config, PythonModel())
    assert by_entity(broker.answers, "y") == {"a": [("0", 4.0), ("3", 2.0)]}  # 8 of four steps


def test_a_gap_of_a_lifetime_begins_anew():
    config = dataset(time={"column": "t", "frequency": "1", "gaps": "fill"})
    broker = MemoryBroker()
    for time in (0, 10**9, 10**9 + 1):
        broker.send(event("a", time, 4))
    stream(broker, config, PythonModel())
    assert by_entity(broker.answers, "y") == {"a": [("0", 4.0), (str(10**9), 4.0)]}


def test_an_event_far_ahead_does_not_make_others_late():
    config = dataset(time={"column": "t", "kind": "timestamp"})
    broker = MemoryBroker()
    for text in ("2026-01-01T00:00:00Z", "2062-01-01T00:00:00Z", "2026-01-01T00:00:01Z", "2026-01-01T00:00:02Z"):
        broker.send(event("a", text), timestamp=1_767_225_600_000)
    stream(broker, config, PythonModel(), most_ahead=86_400 * 10**9)
    assert letters_of(broker) == [(1, "future_event")]
    assert "--max-ahead" in broker.dead_letters[0].headers["problem"]
    assert len(broker.answers) == 2


def test_what_the_model_refuses_is_a_dead_letter():
    broker = MemoryBroker()
    for time in range(3):
        broker.send(event("a", time))
        broker.send(event("b", time))
    model = PythonModel()
    model.refused = {"a"}
    processor = stream(broker, REGRESSION, model)
    assert letters_of(broker) == [(0, "refused_by_model"), (2, "refused_by_model")]
    assert processor.counts.rejected == {"refused_by_model": 2}
    assert {answer["entity"] for answer in broker.answers} == {"b"}


def test_static_values_come_with_the_first_event():
    config = dataset(features=["x", "z", {"name": "size", "static": True}])
    broker = MemoryBroker()
    broker.send({**event("a", 0), "size": 3})
    for time in (1, 2):
        broker.send(event("a", time))
    broker.send({**event("a", 3), "size": 4})
    broker.send(event("a", 4))

    class Sized(PythonModel):
        def run(self, signature: str, inputs: Any, ids: list[str]) -> Any:
            assert inputs["static_features"].tolist() == [[3.0]]
            return super().run(signature, inputs, ids)

    stream(broker, config, Sized(), most=lambda: 1)
    assert [answer["time"] for answer in broker.answers] == ["0", "1", "2"]
    assert letters_of(broker) == [(3, "conflicting_static")]


def test_messages_without_value_and_csv():
    broker = MemoryBroker()
    for raw in (
        b"a;0;1,5;0",
        b'"a";1;2,5;0\n',
        b"a;2",
        b"a;3;1,0;0\nb;1;1;0",
        None,
        b"a;4;\xff;0",
        b'a;5;"1;0',
        b"a;9;2;0",
    ):
        broker.send(raw)
    config = dataset(csv={"delimiter": ";", "decimal": ","})
    stream(broker, config, PythonModel(), reader=EventReader(config, value_format="csv", header=["id", "t", "x", "z"]))
    assert by_entity(broker.answers, "y") == {"a": [("0", 1.5), ("1", 2.0)]}
    assert letters_of(broker) == [(offset, "unparsable_value") for offset in (2, 3, 4, 5, 6)]


def test_csv_without_columns_is_refused():
    with pytest.raises(ConfigError, match="--csv-columns"):
        EventReader(REGRESSION, value_format="csv")
    with pytest.raises(ConfigError, match="expected the columns z as well"):
        EventReader(REGRESSION, value_format="csv", header=["id", "t", "x"])


@pytest.mark.parametrize(
    ("config", "step", "message"),
    [
        (
            dataset(
                {"kind": "forecasting", "targets": ["x"], "input_length": 2, "horizons": [1]},
                features=["x", {"name": "z", "known_in_advance": True}],
            ),
            False,
            r"z \(known_in_advance\)",
        ),
        (dataset({"kind": "classification", "label": "y", "per_step": True}), False, "per_step"),
    ],
    ids=["future", "per_step"],
)
def test_what_is_not_causal_is_refused_by_name(config, step, message):
    with pytest.raises(ConfigError, match=message):
        stream(MemoryBroker(), config, PythonModel(step=step))


def test_an_entity_in_two_partitions_is_an_error():
    broker = MemoryBroker(partitions=2)
    for partition in (0, 1):
        for time in (0, 1):
            broker.send(event("a", time), partition=partition)
    with pytest.raises(UserError, match="entity a has events in the partitions 0 and 1"):
        stream(broker, REGRESSION, PythonModel())
    assert len(broker.answers) == 1


def test_an_error_policy_stops_the_stream():
    broker = MemoryBroker()
    broker.send(event("a", "soon"))
    with pytest.raises(DataError, match="unparsable_value"):
        stream(broker, dataset(policies={"unparsable_value": "error"}), PythonModel())
    assert not broker.offsets


def test_a_checkpoint_of_another_configuration_is_refused():
    broker = MemoryBroker()
    broker.send(event("a", 0))
    stream(broker, REGRESSION, PythonModel())
    with pytest.raises(UserError, match="another configuration"):
        stream(broker, dataset(features=["z", "x"]), PythonModel())


def test_a_damaged_checkpoint_is_refused():
    broker = MemoryBroker()
    for time in (0, 1):
        broker.send(event("a", time))
    stream(broker, REGRESSION, PythonModel())
    text = broker.checkpoints[0][b"entity:a"]
    broker.checkpoints[0][b"entity:a"] = text.replace(b'"crc32":', b'"crc32":1')
    with pytest.raises(UserError, match="entity:a"):
        stream(broker, REGRESSION, PythonModel())


def test_lateness_is_in_the_unit_of_the_times():
    with pytest.raises(ConfigError, match="expected a whole number"):
        stream(MemoryBroker(), REGRESSION, PythonModel(), lateness="30s")
    with pytest.raises(ConfigError, match="expected a duration"):
        stream(MemoryBroker(), dataset(time={"column": "t", "kind": "timestamp"}), PythonModel(), lateness="30")


@pytest.mark.parametrize("kept", [2, 3, 5])
def test_each_kept_step_is_written_once_and_found_again(kept):
    model = PythonModel()
    broker = MemoryBroker()
    written: list[bytes] = []
    apply = broker.apply

    def count(transaction: Any) -> None:
        written.extend(change.key for change in transaction.changes if change.key.startswith(b"step:"))
        apply(transaction)

    broker.apply = count  # type: ignore[method-assign]
    for time in range(9):
        broker.send(event("a", time, time))
    # Two processes: the second one finds the steps of the first.
    stream(broker, REGRESSION, model, kept_steps=kept)
    for time in range(9, 13):
        broker.send(event("a", time, time))
    stream(broker, REGRESSION, model, kept_steps=kept, most=lambda: 1)
    # Without the last event, which waits: of one batch no more steps are written than are kept.
    assert len(written) == kept + 4
    steps = [json.loads(value) for key, value in broker.checkpoints[0].items() if key.startswith(b"step:")]
    assert sorted(step[1] for step in steps) == list(range(12 - kept, 12))


def test_other_numbers_of_kept_steps_lose_steps_but_mix_none():
    versions = [1]
    broker = MemoryBroker()
    for time in range(8):
        broker.send(event("a", time, time))
    stream(broker, REGRESSION, PythonModel(lambda: versions[0]), kept_steps=3)
    for time in range(8, 11):
        broker.send(event("a", time, time))
    stream(broker, REGRESSION, PythonModel(lambda: versions[0]), kept_steps=5)
    versions[0] = 2
    broker.send(event("a", 11, 11))
    stream(broker, REGRESSION, PythonModel(lambda: versions[0]), kept_steps=5)
    # Of the five last steps, 5 to 9, some slots of the three before have been taken.
    last = broker.answers[-1]["y"] / 2
    assert last in [sum(range(first, 11)) / (11 - first) for first in range(5, 10)]
