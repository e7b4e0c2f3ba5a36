"""What a person asked of a model's versions, written down before anything is done and taken away when it is done.

So a rollback that was killed is finished by the next change, whoever makes it, and the same command given again is seen
to be the same one: it goes back once. The file is ``pending-<id>.json`` beside the versions.
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
    """A change that somebody asked for.

    Attributes:
        action: of the history.
        versions: that it concerns; of a rollback those that are withdrawn, newest first.
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
        """Puts it on disk."""
        write_atomically(self._file(model_dir), json.dumps(asdict(self)) + "\n")

    def remove(self, model_dir: Path) -> None:
        """Takes it away. The last thing that is done: nothing may be left to do after it."""
        self._file(model_dir).unlink(missing_ok=True)

    def _file(self, model_dir: Path) -> Path:
        return model_dir / f"{PENDING}{self.id}.json"


def pending_changes(model_dir: Path) -> list[PendingChange]:
    """What was asked for and not finished, or finished without an answer.

    Raises:
        PublishError: a file can't be read.
    """
    return [_read(file) for file in sorted(model_dir.glob(f"{PENDING}*.json"))]


def _read(file: Path) -> PendingChange:
    try:
        intent = PendingChange(**json.loads(file.read_text(encoding="utf-8")))
        whole = intent.action in get_args(ChangeAction) and all(isinstance(version, int) for version in intent.versions)
        if not whole or file.name != f"{PENDING}{intent.id}.json":
            raise ValueError(f"received {intent}")
    except (ValueError, TypeError) as error:
        raise PublishError(
            f"{file} can't be read as a change of the versions that was begun: {error}. Delete it, then see with "
            "noisy-gru runs list which versions are in place."
        ) from error
    return intent
