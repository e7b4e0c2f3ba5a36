"""Upload a compiled pipeline, start a run of it, and wait for the end.

published = publish(client, connection, pipeline)            # nothing is uploaded that is there already
run_id = submit(client, connection, pipeline, published=published, arguments={}, experiment="japanese-vowels")
outcome = wait(client, connection, run_id, timeout=3600)
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from noisy_gru.compat.kfp import create_pipeline
from noisy_gru.kubeflow.cluster.connection import Client, Connection, KubeflowError
from noisy_gru.kubeflow.compiled_pipeline import CompiledPipeline

# kfp's own wait doesn't know CANCELED, and so waits for ever for a run that a person stopped.
FINISHED = ("SUCCEEDED", "SKIPPED", "FAILED", "CANCELED")
PAGE = 100
EQUALS = 1
PATIENCE = 10


# The first release that fills in {{$.pipeline_job_uuid}} (backend/src/v2/driver/driver.go, 2.5.0:1648); images as
# parameters came with 2.4 (driver/driver.go, 2.4.0:533).
LOWEST_RELEASE = (2, 5)


def check_release(client: Client, connection: Connection) -> str | None:
    """Check that the server can run what is compiled here.

    Args:
        client: of the connection.
        connection: where to.

    Returns:
        A warning if the server doesn't report its release.

    Raises:
        KubeflowError: its release is too old.
    """
    release = client.get_kfp_healthz().release
    lowest = ".".join(map(str, LOWEST_RELEASE))
    if not (match := re.match(r"v?(\d+)\.(\d+)", release)):
        return f"{connection.host} doesn't report its release of Kubeflow Pipelines; expected {lowest} or later"
    if (int(match[1]), int(match[2])) < LOWEST_RELEASE:
        raise KubeflowError(
            f"{connection.host} is Kubeflow Pipelines {release}, expected {lowest} or later: older drivers fill in no "
            "run's id, and before 2.4 no image, so that steps fail or publish without it. Upgrade the installation"
        )
    return None


@dataclass(frozen=True)
class Published:
    """A pipeline's version on the server; ``uploaded`` if it was not there before."""

    pipeline_id: str
    version_id: str
    uploaded: bool


def publish(client: Client, connection: Connection, pipeline: CompiledPipeline) -> Published:
    """Return the pipeline and this version of it on the server, uploaded where they are not there yet.

    Raises:
        KubeflowError: the server doesn't answer, or refuses.
    """
    import kfp_server_api

    with connection.in_words(f"looking for the pipeline {pipeline.name}"):
        found = client.list_pipelines(filter=_named(pipeline.name), namespace=connection.namespace, page_size=PAGE)
    known = [each for each in found.pipelines or [] if each.display_name == pipeline.name]
    if known:
        pipeline_id = known[0].pipeline_id
    else:
        # Not kfp's upload_pipeline: it would make a second version, under the pipeline's name.
        new = kfp_server_api.V2beta1Pipeline(display_name=pipeline.name, namespace=connection.namespace)
        with connection.in_words(f"making the pipeline {pipeline.name}"):
            pipeline_id = create_pipeline(client, new)
    with connection.in_words(f"looking for the version {pipeline.version}"):
        versions = client.list_pipeline_versions(pipeline_id, filter=_named(pipeline.version), page_size=PAGE)
    for version in versions.pipeline_versions or []:
        if version.display_name == pipeline.version:
            return Published(pipeline_id, version.pipeline_version_id, uploaded=False)
    with connection.in_words(f"uploading the version {pipeline.version}"):
        version = client.upload_pipeline_version(
            str(pipeline.path), pipeline_version_name=pipeline.version, pipeline_id=pipeline_id
        )
    return Published(pipeline_id, version.pipeline_version_id, uploaded=True)


def submit(
    client: Client,
    connection: Connection,
    pipeline: CompiledPipeline,
    *,
    published: Published | None,
    arguments: dict[str, Any],
    experiment: str,
    run_name: str,
    pipeline_root: str | None = None,
    service_account: str | None = None,
) -> str:
    """Start a run.

    Args:
        client: of the connection.
        connection: where to.
        pipeline: what to run.
        published: its version on the server; None sends the file itself, and uploads nothing.
        arguments: values of parameters.
        experiment: name of the experiment that the run is shown in; made where it isn't there.
        run_name: what the run is called.
        pipeline_root: where artifacts go; None: as the pipeline or the installation has it.
        service_account: the pods'; None: the installation's default.

    Returns:
        The run's id.

    Raises:
        KubeflowError: the server doesn't answer, or refuses.
    """
    with connection.in_words(f"starting a run of {pipeline.name}"):
        run = client.run_pipeline(
            experiment_id=experiment_id(client, connection, experiment),
            job_name=run_name,
            params=arguments,
            pipeline_root=pipeline_root,
            service_account=service_account,
            **source(pipeline, published),
        )
    return run.run_id


def source(pipeline: CompiledPipeline, published: Published | None) -> dict[str, str]:
    """Return the pipeline to run, as arguments of kfp's methods: the version on the server, or the file itself."""
    if published is None:
        return {"pipeline_package_path": str(pipeline.path)}
    return {"pipeline_id": published.pipeline_id, "version_id": published.version_id}


def experiment_id(client: Client, connection: Connection, name: str) -> str:
    """Return the experiment's id; create the experiment if there is none."""
    return client.create_experiment(name, namespace=connection.namespace).experiment_id


def wait(
    client: Client,
    connection: Connection,
    run_id: str,
    *,
    timeout: float | None,
    on_state: Callable[[str], None],
    every: float = 10.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Any | None:
    """Wait until a run ends. If the server is unavailable for a while, poll again: the run doesn't depend on it.

    Args:
        client: of the connection.
        connection: where to.
        run_id: the run's.
        timeout: seconds; None waits as long as it takes.
        on_state: called with each new state.
        every: seconds between two questions.
        clock: for the timeout.
        sleep: between two questions.

    Returns:
        The run as kfp gives it, or None if it was still going on at the end of the time.

    Raises:
        KubeflowError: the server refuses, or doesn't answer ten times in a row.
    """
    start, before, silent = clock(), None, 0
    while True:
        try:
            with connection.in_words(f"asking for run {run_id}"):
                run = client.get_run(run_id)
            silent = 0
        except KubeflowError as error:
            silent += 1
            if 400 <= error.status < 500 or silent >= PATIENCE:
                raise
            on_state(f"{str(error).splitlines()[0]}; polling again")
        else:
            state = str(run.state or "PENDING")
            if state != before:
                on_state(state.lower())
            before = state
            if state in FINISHED:
                return run
        if timeout is not None and clock() - start + every > timeout:
            return None
        sleep(every)


def pages(ask: Callable[..., Any], key: str, **options: Any) -> Iterator[Any]:
    """Yield all items of a list of the API, page by page.

    Args:
        ask: one of kfp's methods ``list_…``.
        key: the attribute of its response that holds the items.
        **options: for the method.
    """
    token = ""
    while True:
        response = ask(page_token=token, page_size=PAGE, **options)
        yield from getattr(response, key) or []
        token = response.next_page_token
        if not token:
            return


def _named(name: str) -> str:
    predicate = {"operation": EQUALS, "key": "display_name", "stringValue": name}
    return json.dumps({"predicates": [predicate]})
