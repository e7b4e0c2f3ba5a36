"""What is kept of Beam's answers is what Beam answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.coders import VarIntCoder
from apache_beam.options.pipeline_options import DebugOptions, PipelineOptions, StandardOptions, TypeOptions
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms import core, userstate

from noisy_gru.pipeline.runs.beam_type_cache import cache_beam_types

FLAGS = ["--runner=FnApiRunner", "--experiments=one"]


class Counting(beam.DoFn):
    """Counts the elements of each key."""

    COUNT = userstate.ReadModifyWriteStateSpec("count", VarIntCoder())
    STATE = beam.DoFn.StateParam(COUNT)

    def process(self, element: Any, count: Any = STATE) -> Iterator[tuple[Any, int]]:
        number = (count.read() or 0) + 1
        count.write(number)
        yield element[0], number


@pytest.fixture
def keeping(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a run; Beam's own functions come back at the end of the test."""
    monkeypatch.setattr(PipelineOptions, "view_as", PipelineOptions.view_as)
    monkeypatch.setattr(userstate, "get_dofn_specs", userstate.get_dofn_specs)
    monkeypatch.setattr(core, "get_function_args_defaults", core.get_function_args_defaults)
    cache_beam_types()
    cache_beam_types()


@pytest.mark.usefixtures("keeping")
def test_views_of_one_object_share_its_options() -> None:
    options = PipelineOptions(FLAGS)
    standard = options.view_as(StandardOptions)
    assert standard is options.view_as(StandardOptions)
    assert standard.runner == "FnApiRunner" and not standard.streaming
    options.view_as(StandardOptions).streaming = True
    assert standard.view_as(StandardOptions).streaming
    assert "streaming" in options.get_all_options(drop_default=True)


@pytest.mark.usefixtures("keeping")
def test_other_objects_have_options_of_their_own() -> None:
    one, other = PipelineOptions(FLAGS), PipelineOptions(FLAGS)
    one.view_as(DebugOptions).add_experiment("two")
    assert one.view_as(DebugOptions).experiments == ["one", "two"]
    assert other.view_as(DebugOptions).experiments == ["one"]
    one._all_options = dict(one._all_options, runtime_type_check=True)
    assert one.view_as(TypeOptions).runtime_type_check and not other.view_as(TypeOptions).runtime_type_check


@pytest.mark.usefixtures("keeping")
def test_a_dofn_is_looked_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from apache_beam.runners import common

    looked: list[str] = []

    class Wrapper(common.MethodWrapper):
        def __init__(self, dofn: Any, name: str):
            looked.append(name)
            super().__init__(dofn, name)

    monkeypatch.setattr(common, "MethodWrapper", Wrapper)
    dofn = Counting()
    assert userstate.get_dofn_specs(dofn) == ({Counting.COUNT}, set())
    assert looked.count("process") == 1
    userstate.get_dofn_specs(dofn)[0].clear()
    assert userstate.is_stateful_dofn(dofn)
    assert looked.count("process") == 1
    assert userstate.is_stateful_dofn(Counting())
    assert looked.count("process") == 2
    assert not userstate.is_stateful_dofn(beam.Map(len).fn)


@pytest.mark.usefixtures("keeping")
def test_a_stateful_pipeline_runs_as_ever() -> None:
    with beam.Pipeline(argv=["--runner=FnApiRunner"]) as pipeline:
        counted = pipeline | beam.Create([("a", 1), ("b", 1), ("a", 1)]) | beam.ParDo(Counting())
        assert_that(counted, equal_to([("a", 1), ("a", 2), ("b", 1)]))


@pytest.mark.usefixtures("keeping")
def test_a_beam_without_these_functions_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(userstate, "get_dofn_specs")
    cache_beam_types()
    assert not hasattr(userstate, "get_dofn_specs")


def test_arguments_of_methods_are_those_that_beam_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    class Derived(Counting):
        def setup(self, *, level: int = 3) -> None:
            pass

    def free(element: Any, factor: int = 2) -> Any:
        return factor * element

    dofns = [Counting(), Derived(), core.CallableWrapperDoFn(free), Counting()]
    methods = [getattr(dofn, name) for dofn in dofns for name in dir(dofn) if callable(getattr(dofn, name, None))]
    methods += [free, str.upper, Derived]
    beams = core.get_function_args_defaults
    own = [beams(method) for method in methods]
    monkeypatch.setattr(core, "get_function_args_defaults", beams)
    cache_beam_types()
    for _ in range(2):
        for method, expected in zip(methods, own, strict=True):
            names, defaults = core.get_function_args_defaults(method)
            assert (names, defaults) == expected
            names.append("spoilt")
            defaults.clear()
