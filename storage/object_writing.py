"""Write, list and delete objects of a store. An object is there with all of its bytes, or it isn't.

>>> put_file(Path("saved_model.pb"), "s3://bucket/serving/vowels/1/saved_model.pb")  # doctest: +SKIP
>>> object_sizes("s3://bucket/serving/vowels")  # doctest: +SKIP
{'1/saved_model.pb': 181220}
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from noisy_gru.storage.object_stores import explained, list_objects, located


def put_file(path: Path, uri: str) -> None:
    """Upload a local file; one that can't be read to its end leaves no object.

    Raises:
        OSError: the file can't be read.
        StoreError: the store refuses, or can't be reached.
    """
    system, key = located(uri)
    with path.open("rb") as source, explained(uri):
        # The default is to pack what is named .gz.
        stream = system.open_output_stream(key, compression=None)
        try:
            shutil.copyfileobj(source, stream, 1 << 20)
        except BaseException:
            # Arrow has no way to give an upload up, and completes it with what it has.
            stream.close()
            system.delete_file(key)
            raise
        stream.close()


def put_bytes(content: bytes, uri: str) -> None:
    """Write an object; raise as `put_file`."""
    system, key = located(uri)
    with explained(uri):
        stream = system.open_output_stream(key, compression=None)
        stream.write(content)
        stream.close()


def object_sizes(folder: str) -> dict[str, int]:
    """Return the bytes of each object below a folder, by its name in it; empty if there is none."""
    system, key = located(folder)
    with explained(folder):
        listed = list_objects(system, key, deep=True)
    return {info.path[len(key) + 1 :]: info.size for info in listed if info.is_file}


def delete_folder(folder: str, first: str, last: str) -> None:
    """Delete all objects below a folder, ``first`` before and ``last`` after the others; a listing shows nothing of it.

    Raises:
        StoreError: the store refuses, or can't be reached.
    """
    names = sorted(object_sizes(folder), key=lambda name: (name != first, name))
    system, key = located(folder)
    with explained(folder):
        for name in names:
            if name != last:
                system.delete_file(f"{key}/{name}")
        # Where it deletes a folder's last file, Arrow leaves an empty object, which this removes, too. On gs:// it
        # expects one for the folder itself, after all others are deleted.
        with suppress(FileNotFoundError):
            system.delete_dir(key)
