"""Keeps what Beam finds out about its own objects again and again while it builds a pipeline.

For every transform Beam makes parsers for its options anew, and for every DoFn it reads the signatures of all methods
eight times: a quarter to a half of the time that a step over little data takes. Both answers follow from the object
alone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms import userstate

from noisy_gru.compat.beam import share_options


def cache_beam_types() -> None:
    """From now on, for this process; more than once does no harm. A Beam without these functions stays as it is."""
    for owner, name, kept in ((PipelineOptions, "view_as", _views), (userstate, "get_dofn_specs", _specs)):
        found = getattr(owner, name, None)
        if found is not None and not hasattr(found, "__wrapped__"):
            setattr(owner, name, kept(found))


def _views(make: Callable[[Any, type], Any]) -> Callable[[Any, type], Any]:
    """``PipelineOptions.view_as``: a view holds the options that it is of, so one for each class is enough."""
    known: WeakKeyDictionary[Any, dict[type, Any]] = WeakKeyDictionary()

    @functools.wraps(make)
    def view_as(options: Any, cls: type) -> Any:
        views = known.setdefault(options, {})
        if cls not in views or not share_options(views[cls], options):
            views[cls] = make(options, cls)
        return views[cls]

    return view_as


def _specs(find: Callable[[Any], tuple[set[Any], set[Any]]]) -> Callable[[Any], tuple[set[Any], set[Any]]]:
    """``get_dofn_specs``: the states and timers that the parameters of a DoFn's methods name."""
    known: WeakKeyDictionary[Any, tuple[set[Any], set[Any]]] = WeakKeyDictionary()

    @functools.wraps(find)
    def get_dofn_specs(dofn: Any) -> tuple[set[Any], set[Any]]:
        if type(dofn).__hash__ is not object.__hash__:
            return find(dofn)
        if dofn not in known:
            known[dofn] = find(dofn)
        states, timers = known[dofn]
        return set(states), set(timers)

    return get_dofn_specs
