"""Pending changes of a model's versions: written to disk before a change starts, and removed when it is reported.

So the next change finishes a rollback that was killed, and the same command given again goes back only once. The file
is ``pending-<id>.json`` beside the versions.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, get_args

from noisy_gru.schema.errors import PublishError
from noisy_gru.storage.atomic_files import write_atomically

PENDING = "pending-"
ChangeAction = Literal["rollback", "restore", "promote"]


@dataclass(frozen=True)
class PendingChange:
    """A requested rollback, restore or promotion.

    Attributes:
        action: of the history.
        versions: to change; of a rollback those to withdraw, newest first.
        previous: the newest version before the change; for `promote` the one that was stable. None: there was none.
        reason: a person's.
        id: of the file's name.
    """

    action: ChangeAction
    versions: list[int]
    previous: int | None
    reason: str = ""
    id: str = field(default_factory=lambda: secrets.token_hex(8))

    def write(self, model_dir: Path) -> None:
        """Write the file."""
        write_atomically(self._file(model_dir), json.dumps(asdict(self)) + "\n")

    def remove(self, model_dir: Path) -> None:
        """Remove the file, when nothing is left to do."""
        self._file(model_dir).unlink(missing_ok=True)

    def _file(self, model_dir: Path) -> Path:
        return model_dir / f"{PENDING}{self.id}.json"


def pending_changes(model_dir: Path) -> list[PendingChange]:
    """Return the changes that were not finished, or finished and not reported.

    Raises:
        PublishError: a file can't be read.
    """
    return [_read(file) for file in sorted(model_dir.glob(f"{PENDING}*.json"))]


def _read(file: Path) -> PendingChange:
    try:
        change = PendingChange(**json.loads(file.read_text(encoding="utf-8")))
        whole = change.action in get_args(ChangeAction) and all(isinstance(version, int) for version in change.versions)
        if not whole or file.name != f"{PENDING}{change.id}.json":
            raise ValueError(f"received {change}")
    except (ValueError, TypeError) as error:
        raise PublishError(
            f"{file} can't be read as a pending change of the versions: {error}. Delete it, then check with "
            "noisy-gru runs list which versions are in place."
        ) from error
    return change
