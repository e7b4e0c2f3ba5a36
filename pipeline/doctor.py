"""Check whether this machine and environment can run the pipeline; each check has its meaning and remedy.

>>> for check in check_environment(Path("runs")):  # doctest: +SKIP
...     print(check.status, check.name, check.found, check.meaning)
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Literal

from noisy_gru.storage.object_store_clients import GS_ENDPOINT, S3_ENDPOINTS

Status = Literal["ok", "note", "problem"]

DISTRIBUTION = "noisy-gru-tfx"
PYTHONS = ((3, 11), (3, 13))
GLIBC = (2, 38)
LIBSTDCXX = b"GLIBCXX_3.4.33"  # GCC 14
GIB = 1024**3
CGROUP = Path("/sys/fs/cgroup")
SYSTEMS = (
    "Debian 13 and Ubuntu 24.04 have it; on Debian 12 and Ubuntu 22.04 `make setup` makes an environment with a newer "
    "one: use that environment's interpreter, .venv/bin/python."
)
# The package by which an extra is known to be installed.
ROOT_OF_EXTRA = {"pipeline": "tfx", "kubeflow": "kfp"}
# Packages of the extras: distribution, name, purpose and extra.
PACKAGES = (
    ("tfx", "TFX", "runs the components", "pipeline"),
    ("tensorflow", "TensorFlow", "trains and exports", "pipeline"),
    ("tensorflow-serving-api", "tensorflow-serving-api", "makes the local server's messages", "pipeline"),
    ("apache-beam", "Beam", "processes the data", "pipeline"),
    ("grpcio", "gRPC", "sends requests to servers over gRPC", "grpc"),
    ("kfp", "kfp", "compiles the pipeline for Kubeflow", "kubeflow"),
    ("onnx", "ONNX", "writes models as ONNX", "onnx"),
    ("openpyxl", "openpyxl", "reads Excel files", "excel"),
    ("duckdb", "DuckDB", "runs the queries of data.sql", "sql"),
    ("mlflow-skinny", "MLflow's client", "logs runs to MLflow", "tracking"),
)


@dataclass(frozen=True)
class Check:
    """The result of one check: ``problem``: what is installed will not run; ``note``: it will, with a limitation."""

    name: str
    status: Status
    found: str
    meaning: str


def check_environment(root: Path | None = None) -> list[Check]:
    """Check the software and the machine; ``root`` is the root of the runs (default: the current folder)."""
    of_pipeline = [check_glibc(), check_cpp_runtime(), check_keras(), check_mlmd(), check_bytecode(), check_memory()]
    if not _is_installed(ROOT_OF_EXTRA["pipeline"]):
        of_pipeline = [_without_pipeline(check) for check in of_pipeline]
    return [
        check_python(),
        *(check_package(*package) for package in PACKAGES),
        *of_pipeline,
        check_cores(),
        check_disk(root or Path.cwd()),
        check_object_stores(),
        check_gpu(),
        check_docker(),
        check_model_server(),
    ]


def check_python(version: tuple[int, int] = (sys.version_info[0], sys.version_info[1])) -> Check:
    found = f"{version[0]}.{version[1]} ({sys.executable})"
    if PYTHONS[0] <= version <= PYTHONS[1]:
        return Check("Python", "ok", found, "TFX 1.21 runs on it.")
    return Check(
        "Python", "problem", found, "TFX 1.21 needs Python 3.11, 3.12 or 3.13: install one, then `make setup`."
    )


def check_glibc() -> Check:
    try:
        found = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):  # another C library does not know the name
        found = ""
    numbers = tuple(int(part) for part in found.removeprefix("glibc ").split(".") if part.isdigit())
    if not numbers:
        meaning = f"ml-metadata and TFDV need glibc {GLIBC[0]}.{GLIBC[1]} or newer, and none was found. {SYSTEMS}"
        return Check("glibc", "problem", found or "none", meaning)
    if numbers < GLIBC:
        meaning = f"ml-metadata and TFDV need glibc {GLIBC[0]}.{GLIBC[1]} or newer. {SYSTEMS}"
        return Check("glibc", "problem", found, meaning)
    private = _loaded_library("libc.so.6")
    if private is not None and "newer-glibc" in private.parts:
        meaning = "New enough: this environment's private copy; the system's own is older and untouched."
        return Check("glibc", "ok", found, meaning)
    return Check("glibc", "ok", found, "New enough for ml-metadata's and TFDV's wheels.")


def check_cpp_runtime() -> Check:
    try:
        ctypes.CDLL("libstdc++.so.6")
    except OSError as error:
        return Check("C++ runtime", "problem", str(error), f"TensorFlow and ml-metadata need GCC 14's. {SYSTEMS}")
    path = _loaded_library("libstdc++.so.6")
    if path is None:
        return Check("C++ runtime", "note", "libstdc++.so.6", "It loads, but its path and version could not be read.")
    if LIBSTDCXX not in path.read_bytes():
        meaning = f"Older than GCC 14 (no {LIBSTDCXX.decode()}), so ml-metadata will not load. {SYSTEMS}"
        return Check("C++ runtime", "problem", str(path), meaning)
    return Check("C++ runtime", "ok", str(path), "GCC 14's or newer, as ml-metadata's wheel needs.")


def check_package(distribution: str, name: str, purpose: str, extra: str) -> Check:
    """Compare the installed version with the requirement of this package's metadata."""
    wanted = _wanted(distribution)
    try:
        found = metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return _missing(name, f"It {purpose}. Expected {distribution}{wanted}", extra)
    if not _matches(found, wanted):
        meaning = (
            f"It {purpose}. Expected {distribution}{wanted}; another package may have changed it: run `make setup`."
        )
        return Check(name, "problem" if _is_installed(ROOT_OF_EXTRA.get(extra)) else "note", found, meaning)
    return Check(name, "ok", found, f"It {purpose}.")


def _missing(name: str, expected: str, extra: str) -> Check:
    """Return a problem if the rest of the extra is installed, else a note: nothing was asked that needs it."""
    if _is_installed(ROOT_OF_EXTRA.get(extra)):
        return Check(name, "problem", "not installed", f"{expected}: run `make setup`.")
    return Check(name, "note", f"not installed (extra {extra})", f"{expected}: pip install '{DISTRIBUTION}[{extra}]'.")


def _without_pipeline(check: Check) -> Check:
    """Return a check of what only the extra `pipeline` needs, where that isn't installed: no problem."""
    if check.status != "problem":
        return check
    return replace(check, status="note", meaning=f"Only the extra pipeline needs it: {check.meaning}")


def _is_installed(distribution: str | None) -> bool:
    if distribution is None:
        return False
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def check_keras(environ: Mapping[str, str] = os.environ) -> Check:
    base = check_package("keras", "Keras 3", "holds the layers and the model", "pipeline")
    legacy = environ.get("TF_USE_LEGACY_KERAS")
    if base.status != "ok" or not legacy:
        return base
    meaning = (
        "`import keras`, which this product uses, is Keras 3 whatever the variable says; but `tf.keras` now means "
        "Keras 2 (tf_keras), whose layers do not mix with it. In code of your own write `import keras`, or unset it."
    )
    return Check("Keras 3", "note", f"{base.found}, TF_USE_LEGACY_KERAS={legacy}", meaning)


def check_mlmd() -> Check:
    try:
        found = metadata.version("ml-metadata")
        _open_metadata_store()
    except metadata.PackageNotFoundError:
        return _missing("MLMD", "TFX records runs and caches steps in it", "pipeline")
    except (ImportError, OSError) as error:
        meaning = f"ml-metadata does not load, mostly because the C or C++ library is too old. {SYSTEMS}"
        return Check("MLMD", "problem", f"{found}: {error}", meaning)
    except RuntimeError as error:
        meaning = "ml-metadata loads but opens no store: run `make clean setup`."
        return Check("MLMD", "problem", f"{found}: {error}", meaning)
    return Check("MLMD", "ok", found, "It opened a store in memory.")


def check_bytecode(environ: Mapping[str, str] = os.environ) -> Check:
    name = "PYTHONDONTWRITEBYTECODE"
    found = environ.get(name)
    if not found:
        return Check(name, "ok", "not set", "Python keeps compiled bytecode, so importing TFX stays quick.")
    if _has_bytecode("tfx"):
        meaning = "Python may not write bytecode, but TFX's was compiled when it was installed, so imports stay quick."
        return Check(name, "ok", found, meaning)
    meaning = "Every import of TFX takes about three times as long. Unset it, or run `make clean setup`."
    return Check(name, "note", found, meaning)


def check_memory() -> Check:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _cgroup_number("memory.max")
    limited = limit is not None and limit < total
    usable = limit if limit is not None and limited else total
    found = f"{usable / GIB:.1f} GiB" + (" (the container's limit)" if limited else "")
    if usable < 2 * GIB:
        return Check(
            "memory", "problem", found, "TFX and TensorFlow alone take more than 1 GiB; give it at least 4 GiB."
        )
    if usable < 4 * GIB:
        return Check("memory", "note", found, "Enough for small data sets; at least 4 GiB is recommended.")
    return Check("memory", "ok", found, "Enough for the pipeline; more helps Beam on large data.")


def check_cores() -> Check:
    cores = len(os.sched_getaffinity(0))
    if cores == 1:
        return Check("CPU cores", "note", "1", "Enough to run, but slow: Beam and TensorFlow share it.")
    return Check("CPU cores", "ok", str(cores), "Beam and TensorFlow share them.")


def check_disk(root: Path) -> Check:
    place = root.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    found = f"{free / GIB:.1f} GiB free under {place}"
    if free < GIB:
        meaning = (
            "Runs keep data, models and records there, and need more than 1 GiB. Free some space, or use another root."
        )
        return Check("disk", "problem", found, meaning)
    if free < 5 * GIB:
        return Check("disk", "note", found, "Enough for small data sets; every run keeps its data and model there.")
    return Check("disk", "ok", found, "Enough for many runs of moderate size.")


def check_object_stores(environ: Mapping[str, str] = os.environ) -> Check:
    """Say which object stores the environment names credentials for; asks none of them."""
    stores = (
        ("s3://", ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE"), S3_ENDPOINTS),
        ("gs://", ("GOOGLE_APPLICATION_CREDENTIALS",), (GS_ENDPOINT,)),
    )
    named = []
    for scheme, credentials, endpoints in stores:
        given = [name for name in (*credentials, *endpoints) if environ.get(name)]
        if given:
            named.append(f"{scheme} by {', '.join(given)}")
    meaning = (
        "data.files and schema may be on s3:// and gs://; the root and what it holds is a folder, so a bucket as a "
        "root has to be mounted. Without these variables a role of the machine or a file in ~/.aws is used."
    )
    return Check("object stores", "ok", "; ".join(named) or "no variables of credentials", meaning)


def check_gpu(devices: Path = Path("/dev"), environ: Mapping[str, str] = os.environ) -> Check:
    """Look for the device and TensorFlow's CUDA packages, without importing TensorFlow, which takes seconds."""
    count = len(list(devices.glob("nvidia[0-9]*")))
    hidden = environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if count == 0:
        return Check("GPU", "ok", "none", "Training runs on the CPU, which is sufficient for models of this size.")
    if hidden:
        return Check("GPU", "note", f"{count}, hidden", "CUDA_VISIBLE_DEVICES hides it; unset it to train on the GPU.")
    try:
        cudnn = metadata.version("nvidia-cudnn-cu12")
    except metadata.PackageNotFoundError:
        meaning = (
            "TensorFlow lacks its CUDA libraries and trains on the CPU; for the GPU, install tensorflow[and-cuda]."
        )
        return Check("GPU", "note", str(count), meaning)
    return Check("GPU", "ok", f"{count}, cuDNN {cudnn}", "Training uses it; the export never depends on it.")


def check_docker() -> Check:
    meaning = "It builds the image for Kubeflow and can run TF Serving; nothing else needs it."
    client = shutil.which("docker")
    if client is None:
        return Check("docker", "note", "not on the PATH", meaning)
    command = [client, "version", "--format", "{{.Server.Version}}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check("docker", "note", f"{client}: {error}", f"The client failed or timed out. {meaning}")
    if done.returncode != 0:
        reason = (done.stderr.strip() or "no reason given").splitlines()[-1]
        advice = f"Start the engine, or set DOCKER_HOST. {meaning}"
        return Check("docker", "note", f"client only: {reason}", advice)
    return Check("docker", "ok", f"engine {done.stdout.strip()}", meaning)


def check_model_server() -> Check:
    server = shutil.which("tensorflow_model_server")
    if server is None:
        meaning = (
            "Exports are checked by TF Serving's own loader and served by the stand-in server; deploy with TF Serving."
        )
        return Check("tensorflow_model_server", "note", "not on the PATH", meaning)
    return Check("tensorflow_model_server", "ok", server, "TF Serving can be run here.")


def _wanted(distribution: str) -> str:
    """Return the version specifier for ``distribution`` in this package's metadata; "" if there is none."""
    from packaging.requirements import Requirement

    try:
        lines = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:  # run from the tree, not installed
        lines = []
    requirements = (Requirement(line) for line in lines)
    return next((str(each.specifier) for each in requirements if each.name == distribution), "")


def _matches(version: str, specifier: str) -> bool:
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(specifier).contains(version, prereleases=True)


def _open_metadata_store() -> None:
    from ml_metadata import errors
    from ml_metadata.metadata_store import metadata_store
    from ml_metadata.proto import metadata_store_pb2

    connection = metadata_store_pb2.ConnectionConfig()  # pyright: ignore[reportAttributeAccessIssue] (no stubs)
    connection.fake_database.SetInParent()
    try:
        metadata_store.MetadataStore(connection).get_artifact_types()
    except errors.StatusError as error:
        raise RuntimeError(str(error)) from error


def _loaded_library(name: str) -> Path | None:
    """Return the file that ``name`` was loaded from into this process; None if unknown."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return None
    paths = (Path(line.split(maxsplit=5)[5]) for line in lines if line.count("/") > 0)
    return next((path for path in paths if path.name == name or path.name.startswith(f"{name}.")), None)


def _has_bytecode(package: str) -> bool:
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.cached is not None and Path(spec.cached).exists()


def _cgroup_number(name: str) -> int | None:
    try:
        text = (CGROUP / name).read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
