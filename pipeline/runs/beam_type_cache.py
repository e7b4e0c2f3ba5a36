"""Cache what Beam derives from its own objects again and again while it builds a pipeline.

For every transform Beam builds parsers for its options anew, and for every DoFn it reads the signatures of all methods
eight times: a quarter to a half of the duration of a step over little data. Both depend on the object alone. Most of a
DoFn's 39 methods are those of its base class, so their signatures are read once for all DoFns.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms import core, userstate

from noisy_gru.compat.beam import share_options


def cache_beam_types() -> None:
    """Install the caches in this process, once. A Beam without these functions is not changed."""
    for owner, name, cached in (
        (PipelineOptions, "view_as", _views),
        (userstate, "get_dofn_specs", _specs),
        (core, "get_function_args_defaults", _signatures),
    ):
        function = getattr(owner, name, None)
        if function is not None and not hasattr(function, "__wrapped__"):
            setattr(owner, name, cached(function))


def _views(make: Callable[[Any, type], Any]) -> Callable[[Any, type], Any]:
    """Cache ``PipelineOptions.view_as``: a view shares the options, so one for each class is enough."""
    known: WeakKeyDictionary[Any, dict[type, Any]] = WeakKeyDictionary()

    @functools.wraps(make)
    def view_as(options: Any, cls: type) -> Any:
        views = known.setdefault(options, {})
        if cls not in views or not share_options(views[cls], options):
            views[cls] = make(options, cls)
        return views[cls]

    return view_as


def _specs(find: Callable[[Any], tuple[set[Any], set[Any]]]) -> Callable[[Any], tuple[set[Any], set[Any]]]:
    """Cache ``get_dofn_specs``: the states and timers in the signatures of a DoFn's methods."""
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


def _signatures(read: Callable[[Any], tuple[list[str], list[Any]]]) -> Callable[[Any], tuple[list[str], list[Any]]]:
    """Cache ``get_function_args_defaults``: the arguments of a bound method, which are those of its function."""
    known: WeakKeyDictionary[Any, tuple[list[str], list[Any]]] = WeakKeyDictionary()

    @functools.wraps(read)
    def get_function_args_defaults(method: Any) -> tuple[list[str], list[Any]]:
        function = getattr(method, "__func__", None)
        if not (isinstance(method, types.MethodType) and isinstance(function, types.FunctionType)):
            return read(method)
        if function not in known:
            known[function] = read(method)
        names, defaults = known[function]
        return list(names), list(defaults)

    return get_function_args_defaults
