"""URIs and the launcher's folders."""

from __future__ import annotations

import pytest

from noisy_gru.kubeflow.emulator.launcher import LAUNCHER_ROOT
from noisy_gru.kubeflow.step.artifact_paths import PREFIX_VARIABLE, to_path, to_uri
from noisy_gru.schema.errors import UserError

# KFP's launcher_v2.go, LocalPathForURI.
PAIRS = [("minio://b/run/x", "/minio/b/run/x"), ("s3://b/x", "/s3/b/x"), ("gs://b/x", "/gcs/b/x")]


@pytest.mark.parametrize(("uri", "path"), PAIRS)
@pytest.mark.parametrize("prefix", ["", "/somewhere/pod"])
def test_there_and_back(uri: str, path: str, prefix: str) -> None:
    environment = {PREFIX_VARIABLE: prefix} if prefix else {}
    assert to_path(uri, environment) == prefix + path
    assert to_uri(prefix + path, environment) == uri


@pytest.mark.parametrize("text", ["a note", "/mnt/serving/m/1", "/minio", "minio://b/x", ""])
def test_other_text_stays(text: str) -> None:
    assert to_uri(text, {}) == text


@pytest.mark.parametrize("uri", ["/tmp/x", "hdfs://b/x", "x"])
def test_other_places_are_refused(uri: str) -> None:
    with pytest.raises(UserError, match="minio://, s3://, gs://"):
        to_path(uri, {})


def test_the_emulator_sets_the_variable_that_the_entrypoint_reads() -> None:
    assert LAUNCHER_ROOT == PREFIX_VARIABLE
