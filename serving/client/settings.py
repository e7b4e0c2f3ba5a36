"""Settings of a client, and the plan of a prediction request as batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from noisy_gru.data.requests.prediction_input import PredictionInput
from noisy_gru.saved_model.example_validation import ExampleInput
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import ConfigError, DataError
from noisy_gru.serving.client.calls import ModelChoice, PredictCall
from noisy_gru.serving.client.connection import DEFAULT_TIMEOUT, MIB, ConnectionOptions, Tls, Transport, split_url
from noisy_gru.serving.client.errors import SHOWN, Refused
from noisy_gru.serving.client.predictions import Predictions
from noisy_gru.serving.client.request_flow import BatchResult
from noisy_gru.serving.client.requests import batches, check_batches, prediction_input, serialized
from noisy_gru.serving.client.retrying import Clock

OnError = Literal["raise", "collect"]
DEFAULT = "serving_default"
EXAMPLES = "examples"


@dataclass(frozen=True)
class RequestPlan:
    """A prediction request, cut into batches.

    Attributes:
        batches: each call with the places of its sequences in the request.
        collect: return refused sequences beside the predictions; else they are an error.
        dataset: the configuration of the data set.
        request: the data as it was read; None for ready-made tf.Examples.
        refused: sequences that are not sent.
    """

    batches: list[tuple[PredictCall, Sequence[int]]]
    collect: bool
    dataset: DatasetConfig
    request: PredictionInput | None
    refused: Sequence[Refused] = ()

    def predictions(self, results: Iterable[BatchResult]) -> Predictions:
        """Join the results of all batches, in order."""
        found, refused = [], list(self.refused)
        for parts, more in results:
            found += parts
            refused += more
        task = self.dataset.task
        if self.request is None:
            return Predictions(task, [part for _, part in found], sorted(refused, key=lambda each: each.place))
        report = self.request.report
        return Predictions(
            task,
            [part for _, part in found],
            refused,
            self.request.unusable,
            report.quarantined + report.dropped,
            self.request.origins,
            {name: place for place, name in enumerate(self.request.ids)},
        )


class ClientSettings:
    """The settings of a client.

    Args:
        target: HOST:PORT, of the server's gRPC or REST port; or http://HOST:PORT or https://HOST:PORT, of REST.
        dataset: the configuration of the data set that the model was trained on.
        model_name: TF Serving's name of the model.
        transport: `grpc` or `rest`; None: `rest` for a URL, else `grpc`.
        model_version: a version by its number; by default the newest that is served.
        version_label: a version by its label, in place of a number.
        batch_size: most sequences in one request.
        largest_request: most bytes of sequences in one request; a longer sequence is sent alone. Many servers accept
            no more than 4 MiB.
        concurrency: most requests at a time.
        timeout: seconds for one request, with all its attempts.
        attempts: most attempts of one request; only an unavailable server is retried. None: as many as ``timeout``
            allows, which outlasts a restart of half a minute.
        first_wait: seconds before the second attempt; it doubles, and a part of it is random.
        longest_wait: seconds between attempts at most.
        tls: encrypts the connection; True: with the system's certificates.
        plaintext: allows an unencrypted connection to another machine.
        headers: sent with every request (gRPC: metadata).
        largest_answer: most bytes of a response.
        clock: seconds, of any beginning.
        sleep: waits for seconds; a coroutine function for ``AsyncClient``. None: wait in real time.

    Raises:
        ConfigError: a value is invalid, or values exclude each other.
    """

    def __init__(
        self,
        target: str,
        *,
        dataset: DatasetConfig,
        model_name: str,
        transport: Transport | None = None,
        model_version: int | None = None,
        version_label: str | None = None,
        batch_size: int = 256,
        largest_request: int = 3 * MIB,
        concurrency: int = 4,
        timeout: float = DEFAULT_TIMEOUT,
        attempts: int | None = None,
        first_wait: float = 0.1,
        longest_wait: float = 5.0,
        tls: Tls | bool | None = None,
        plaintext: bool = False,
        headers: Mapping[str, str] | None = None,
        largest_answer: int = 64 * MIB,
        clock: Clock = time.monotonic,
        sleep: Callable[[float], Any] | None = None,
    ) -> None:
        check_batches(batch_size, concurrency, largest_request)
        if tls and plaintext:
            raise ConfigError("tls and plaintext exclude each other; both are given")
        address, spoken, encryption = split_url(target, transport, Tls() if tls is True else tls or None)
        self.dataset = dataset
        self.clock, self.sleep = clock, sleep
        self.model = ModelChoice(model_name, model_version, version_label)
        self.batch_size, self.largest_request, self.concurrency = batch_size, largest_request, concurrency
        self.connection = ConnectionOptions(
            target=address,
            transport=spoken,
            tls=encryption,
            plaintext=plaintext,
            headers=dict(headers or {}),
            timeout=timeout,
            attempts=attempts,
            first_wait=first_wait,
            longest_wait=longest_wait,
            largest_answer=largest_answer,
        )
        self._start()

    def _start(self) -> None:
        """Set up a kind of client."""

    def plan_data(self, data: Any, on_error: OnError) -> RequestPlan:
        """Read data, and plan the request for it; see ``requests.sources_of`` for what it may be.

        Raises:
            DataError: the data can't be read.
        """
        request = prediction_input(data, self.dataset)
        batches = self._batches(request.ids, request.examples)
        return RequestPlan(batches, _collects(on_error), self.dataset, request)

    def plan_examples(self, examples: Iterable[Any], ids: Sequence[str] | None, on_error: OnError) -> RequestPlan:
        """Plan the request for ready-made tf.Examples; their ids are their places, if none are given.

        Damaged examples, and those without a feature of the configuration, are not sent: TF Serving would crash, or
        predict as for an empty sequence.

        Raises:
            DataError: there are not as many ids as examples; or something is no tf.Example of this data set, unless
                such are collected.
        """
        found = serialized(examples)
        names = [str(place) for place in range(len(found))] if ids is None else list(ids)
        if len(names) != len(found):
            raise DataError(f"expected an id for each of {len(found)} examples, received {len(names)}")
        read = frozenset(feature.name.encode() for feature in self.dataset.data.features)
        problems = ExampleInput(read, EXAMPLES).problems(found)
        if problems and on_error == "raise":
            shown = "; ".join(f"example {names[place]}: {problem}" for place, problem in list(problems.items())[:SHOWN])
            rest = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
            raise DataError(
                f"expected tf.Examples of this data set. {shown}{rest}. Correct or leave out what it names, or set "
                "on_error='collect', which predicts the others"
            )
        refused = [Refused(place, names[place], problem) for place, problem in problems.items()]
        places = [place for place in range(len(found)) if place not in problems]
        batches = self._batches([names[at] for at in places], [found[at] for at in places], places)
        return RequestPlan(batches, _collects(on_error), self.dataset, None, refused)

    def _batches(
        self, ids: Sequence[str], examples: Sequence[bytes], places: Sequence[int] | None = None
    ) -> list[tuple[PredictCall, Sequence[int]]]:
        call = PredictCall(self.model, DEFAULT, {EXAMPLES: examples}, ids)
        places = range(len(ids)) if places is None else places
        return [
            (part, places[first : first + len(part.ids)])
            for first, part in batches(call, self.batch_size, self.largest_request)
        ]


def _collects(on_error: OnError) -> bool:
    if on_error not in ("raise", "collect"):
        raise ConfigError(f"on_error: expected raise or collect, received {on_error!r}")
    return on_error == "collect"
