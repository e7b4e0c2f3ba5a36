"""A model to publish, compared with published versions by its files, and else by its identity."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from noisy_gru.registry.published_versions import RECORD, Publication, fingerprint, hash_files, read_publication


class Candidate:
    """A SavedModel; its files are hashed once, and its graph is read only where their hashes differ.

    Args:
        saved_model: its folder.
        identify: returns the identity of a SavedModel.
    """

    def __init__(self, saved_model: Path, identify: Callable[[Path], str]) -> None:
        self.saved_model = saved_model
        self.files = hash_files(saved_model)
        self.fingerprint = fingerprint(self.files)
        self._identify = identify

    @cached_property
    def identity(self) -> str:
        """The model's identity."""
        return self._identify(self.saved_model)

    def is_in(self, folder: Path, publication: Publication) -> bool:
        """Return whether the published version in ``folder`` is this model.

        A record of an earlier release has no identity, or one of another scheme: it is computed from the version then.
        """
        if publication.fingerprint == self.fingerprint:
            return True
        scheme = self.identity.partition(":")[0]
        theirs = publication.identity
        return (theirs if theirs.partition(":")[0] == scheme else self._identify(folder)) == self.identity

    def published_in(self, folder: Path) -> Publication | None:
        """Return the record of the version in ``folder``, if it is this model."""
        if not (folder / RECORD).exists():
            return None
        publication = read_publication(folder)
        return publication if self.is_in(folder, publication) else None
