"""A folder of prediction files of a fixed number of sequences each, which a rerun completes.

>>> with opened_folder(Path("scores"), request) as parts:  # doctest: +SKIP
...     parts.write(batches_from)

    _prediction.json   what is predicted: files, model and version, layout; written first
    part-00000.csv …   sequences in the order of the files; each appears when it is complete
    _SUCCESS           written last: the number of sequences and parts, and what couldn't be used
    .work/             encoded sequences, until the end

Names that begin with an underscore or a dot are no data to Spark, Arrow and Beam.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noisy_gru.data.reading.tables import Source
from noisy_gru.pipeline.batch_prediction.output_files import output_file, write_predictions, writing
from noisy_gru.schema.errors import UserError
from noisy_gru.serving.client.prediction_tables import Layout
from noisy_gru.serving.client.predictions import Predictions
from noisy_gru.storage.atomic_files import write_atomically
from noisy_gru.storage.locks import exclusive_lock
from noisy_gru.storage.object_stores import file_state, is_remote

REQUEST, SUCCESS, WORK, LOCK = "_prediction.json", "_SUCCESS", ".work", ".lock"


@dataclass(frozen=True)
class PartFolder:
    """A folder of parts, locked. ``request`` is what it holds the predictions of, ``result`` the content of _SUCCESS.

    ``batch`` is the number of sequences that the model gets at a time: parts are cut between batches.
    """

    folder: Path
    request: Mapping[str, Any]
    batch: int

    @property
    def work(self) -> Path:
        """The folder for encoded sequences."""
        return self.folder / WORK

    @property
    def result(self) -> dict[str, Any] | None:
        """The content of _SUCCESS; None if parts are missing."""
        path = self.folder / SUCCESS
        return json.loads(path.read_text()) if path.is_file() else None

    @property
    def batches_a_part(self) -> int:
        """The number of batches of each part but the last."""
        return -(-int(self.request["part_size"]) // self.batch)

    def part(self, number: int) -> Path:
        """Return the file of a part."""
        return self.folder / f"part-{number:05d}.{self.request['format']}"

    def finished(self) -> int:
        """Return the number of finished parts, from the first one on without a gap."""
        return next(number for number in itertools.count() if not self.part(number).is_file())

    def write(self, batches_from: Callable[[int], Iterator[Predictions]]) -> tuple[int, int]:
        """Write the parts that are missing.

        Args:
            batches_from: returns the predictions in batches, from the sequence of this number on.

        Returns:
            The numbers of parts and of sequences, those of parts that were there before included.

        Raises:
            UserError: a part can't be written.
        """
        number = self.finished()
        layout: Layout = self.request["layout"]
        sequences = number * self.batches_a_part * self.batch
        batches = batches_from(sequences)
        while (first := next(batches, None)) is not None or number == 0:
            of_part = itertools.chain(
                [first] if first is not None else [], itertools.islice(batches, self.batches_a_part - 1)
            )
            counted: Counter[str] = Counter()
            out = self.part(number)
            with output_file(out) as partial:
                write_predictions(_counted(of_part, counted), partial, self.request["format"], layout, out)
            sequences += counted["sequences"]
            number += 1
        return number, sequences

    def succeed(self, result: Mapping[str, Any]) -> None:
        """Mark the folder as complete."""
        with writing(self.folder):
            write_atomically(self.folder / SUCCESS, json.dumps(result, ensure_ascii=False) + "\n")
            shutil.rmtree(self.work, ignore_errors=True)


def _counted(batches: Iterator[Predictions], counted: Counter[str]) -> Iterator[Predictions]:
    for predictions in batches:
        counted["sequences"] += len(predictions)
        yield predictions


def file_states(sources: Sequence[Source]) -> list[dict[str, Any]]:
    """Return the files with size and time of change, which tell whether a rerun reads the same.

    Raises:
        UserError: a file can't be read.
    """
    states = []
    for source in sources:
        try:
            status = file_state(source.path)
        except OSError as error:
            raise UserError(f"{source.path}: can't be read: {error.strerror}") from error
        path = source.path if is_remote(source.path) else str(Path(source.path).resolve())
        states.append({"path": path, "size": status.size, "mtime_ns": status.changed_ns})
        if status.tag:
            states[-1]["tag"] = status.tag
    return states


def begun_version(folder: Path) -> int | None:
    """Return the version with which a folder's prediction began; None if none has."""
    request = _begun(folder)
    return None if request is None else request.get("version")


@contextmanager
def opened_folder(
    folder: Path, request: Mapping[str, Any], batch: int, *, restart: bool = False
) -> Iterator[PartFolder]:
    """Lock a folder, and begin or continue the prediction of a request in it.

    With ``restart``, unfinished parts of another request are removed.

    Raises:
        UserError: it holds something else, or can't be written.
        BusyError: another process writes it.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(folder / LOCK, "noisy-gru predict", "Wait for it, or choose another folder with --out."):
        parts = PartFolder(folder, request, batch)
        begun = _begun(folder)
        names = {path.name for path in folder.iterdir()}
        if begun is None and (foreign := sorted(names - {LOCK, WORK})):
            raise UserError(
                f"--out {folder}: expected a new or empty folder, or one of an earlier prediction; found "
                f"{', '.join(foreign[:3])}. Choose another folder"
            )
        if begun is not None and begun != request:
            differ = sorted(key for key in {*begun, *request} if begun.get(key) != request.get(key))
            old = [] if parts.result is not None or not restart else [*folder.glob("part-*")]
            with writing(folder):
                for path in old:
                    path.unlink()
            if parts.result is not None or any(folder.glob("part-*")):
                raise UserError(
                    f"--out {folder}: holds a prediction with other {', '.join(differ)} ({REQUEST}). Choose another "
                    "folder, or delete it"
                )
            shutil.rmtree(parts.work, ignore_errors=True)
        with writing(folder):
            for left in [*folder.glob(".predict-*.partial"), *folder.glob(".part-*.part")]:
                left.unlink()
            parts.work.mkdir(exist_ok=True)
            write_atomically(folder / REQUEST, json.dumps(request, ensure_ascii=False, indent=1) + "\n")
        yield parts


def _begun(folder: Path) -> dict[str, Any] | None:
    path = folder / REQUEST
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: can't be read: {error}. Delete the folder, or choose another with --out") from error
