"""Copy a model's published versions to an object store, from which servers load them.

The serving directory stays what decides; the mirror follows each push, rollback, restoration and promotion, while the
model's lock is held. An object store can't rename a folder, so what makes a version is its `saved_model.pb`: it is
written last and deleted first. TF Serving aspires to a version as soon as one object of it is listed
(tensorflow_serving/sources/storage_path/file_system_storage_path_source.cc:279-286), fails to load it without
`saved_model.pb`, and tries again, 5 times, once a minute (model_servers/server.h:68-69); the version before serves on.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path

from noisy_gru.registry.history import HISTORY
from noisy_gru.registry.labels import SETTINGS
from noisy_gru.registry.published_versions import RECORD, published_versions
from noisy_gru.registry.server_files import MODELS_CONFIG
from noisy_gru.schema.errors import PublishError
from noisy_gru.storage.atomic_files import write_atomically
from noisy_gru.storage.object_stores import StoreError, open_file
from noisy_gru.storage.object_writing import delete_folder, object_sizes, put_bytes, put_file

# In the model's folder and in the mirror: the same id, so that two serving directories don't undo each other.
OWNER = "mirror.json"
LAST = "saved_model.pb"


def update_mirror(model_dir: Path, target: str) -> None:
    """Bring the mirror of a model up to date; call with the model's lock held. Again, it does what is left.

    Args:
        model_dir: the model's folder of the serving directory.
        target: folder for all models, on s3:// or gs://.

    Raises:
        PublishError: the store fails, or the folder is not this model's mirror; the serving directory is as it was.
    """
    uri = f"{target.rstrip('/')}/{model_dir.name}"
    try:
        there = object_sizes(uri)
        _claim(model_dir, uri, there)
        present = published_versions(model_dir)
        for version in present:
            _upload(model_dir / str(version), f"{uri}/{version}", _below(there, version))
        # Labels: after the versions that they name, and before the ones that they no longer do.
        put_file(model_dir.parent / MODELS_CONFIG, f"{target.rstrip('/')}/{MODELS_CONFIG}")
        for name in (HISTORY, SETTINGS):
            if (model_dir / name).is_file():
                put_file(model_dir / name, f"{uri}/{name}")
        for version in {int(name.split("/")[0]) for name in there if _is_version(name)}.difference(present):
            # Another's version has no record of ours.
            if RECORD in _below(there, version):
                delete_folder(f"{uri}/{version}", first=LAST, last=RECORD)
    except StoreError as error:
        raise PublishError(
            f"serving.mirror: {error}. {model_dir} is up to date, {uri} isn't yet: run it again, or any change of the "
            "versions, copies what is left"
        ) from error


def _claim(model_dir: Path, uri: str, there: dict[str, int]) -> None:
    own = model_dir / OWNER
    if not own.is_file():
        write_atomically(own, json.dumps({"id": secrets.token_hex(8)}) + "\n")
    content = own.read_bytes()
    if OWNER not in there:
        if any(_is_version(name) for name in there):
            raise PublishError(
                f"serving.mirror: {uri} holds versions that noisy-gru didn't copy there. Name an empty folder"
            )
        put_bytes(content, f"{uri}/{OWNER}")
        return
    with open_file(f"{uri}/{OWNER}") as stream:
        if stream.read() != content:
            raise PublishError(
                f"serving.mirror: {uri} is the mirror of another serving directory than {model_dir}. Give each its own"
            )


def _upload(folder: Path, uri: str, there: dict[str, int]) -> None:
    """Upload what lacks: the record first, which says whose version it is, and the SavedModel's graph last."""
    sizes = {file.relative_to(folder).as_posix(): file.stat().st_size for file in folder.rglob("*") if file.is_file()}
    if sizes == there:
        return
    for name in sorted(sizes, key=lambda name: (name == LAST, name != RECORD, name)):
        if there.get(name) != sizes[name] or name == LAST:
            put_file(folder / name, f"{uri}/{name}")


def _below(there: dict[str, int], version: int) -> dict[str, int]:
    prefix = f"{version}/"
    return {name[len(prefix) :]: size for name, size in there.items() if name.startswith(prefix)}


def _is_version(name: str) -> bool:
    folder, slash, _ = name.partition("/")
    return bool(slash) and folder.isascii() and folder.isdigit()
