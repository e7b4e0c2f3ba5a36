"""Behaviour of driver and launcher by release of Kubeflow Pipelines.

References name the release's tag, and file and line in its repository, below ``backend/src/v2``.

    >>> backend("2.15").output_file_in_task_root
    True
"""

from __future__ import annotations

from dataclasses import dataclass

from noisy_gru.kubeflow.compiled_pipeline import CompiledPipelineError

# Name and type of the output that the driver adds to every container's where PUBLISH_LOGS is true, as it is in the
# stock manifest (manifests/kustomize/base/pipeline/ml-pipeline-apiserver-deployment.yaml, 2.5.0:24, 2.15.0:24,
# 2.17.0:114): driver/driver.go, 2.5.0:2031, 2.15.0:678, 2.17.0:761. Releases before 2.5 have none.
LOG_OUTPUT, LOG_TYPE = "executor-logs", "system.Artifact"

# Where output parameters go: driver/driver.go, 2.5.0:2056, 2.15.0:713, 2.17.0:796.
OUTPUT_PARAMETERS = "/tmp/kfp/outputs"

# Where the ExecutorOutput goes, until 2.15: component/launcher_v2.go, 2.5.0:458; driver/driver.go, 2.5.0:2020.
OUTPUT_FILE = "/tmp/kfp_outputs/output_metadata.json"

# Most bytes of one argument, its end included: MAX_ARG_STRLEN in Linux' include/uapi/linux/binfmts.h. The driver gets
# --component, --task and --container so (compiler/argocompiler/container.go, 2.5.0:182, 2.15.0:199, 2.17.0:201), of the
# root all tasks at once (compiler/argocompiler/dag.go, 2.15.0:155); the launcher --executor_input and --component_spec
# (driver/driver.go, 2.5.0:480, 2.15.0:274, 2.17.0:326).
MAX_ARGUMENT = 131_072


@dataclass(frozen=True, kw_only=True)
class Backend:
    """A release.

    Attributes:
        version: as ``--kfp-version`` takes it.
        output_file_in_task_root: the ExecutorOutput's file is beside the outputs (driver/driver.go, 2.15.0:720,
            2.17.0:803), and outputs have a name (2.15.0:700, 2.17.0:783).
        brings_siblings: a download takes all objects whose key begins as the artifact's does: `model` brings
            `model_run` (objectstore/object_store.go, 2.5.0:124, 2.15.0:128; left out at 2.17.0:192).
        driver_resolves_arguments: placeholders of input parameters are replaced by the driver already, and
            one without a value is an error (driver/driver.go, 2.17.0:309; driver/util.go, 2.17.0:263).
        logs_by_try: the name of the log ends in the number of the try (component/launcher_v2.go, 2.17.0:538).
        null_for_optional: a graph's optional parameter that nobody gives is its default, else null
            (driver/resolve.go, 2.15.0:295, 2.17.0:304); before, there is none (driver/driver.go, 2.5.0:1606).
        store_endpoint, store_retries: of the object store of an installation as it comes (config/env.go, 2.5.0:164,
            2.15.0:177, 2.17.0:177; objectstore/config.go, 2.15.0:29, 2.17.0:29).
        run_placeholders: constants that the driver replaces, where they are the whole constant
            (driver/driver.go, 2.5.0:1644; driver/resolve.go, 2.15.0:420, 2.17.0:436). 2.4 replaces none.
    """

    version: str
    output_file_in_task_root: bool
    brings_siblings: bool
    driver_resolves_arguments: bool
    logs_by_try: bool
    null_for_optional: bool
    store_endpoint: str
    store_retries: bool
    run_placeholders: frozenset[str]


_PLACEHOLDERS = frozenset(
    f"{{{{$.{name}}}}}"
    for name in (
        "pipeline_job_name",
        "pipeline_job_resource_name",
        "pipeline_job_uuid",
        "pipeline_task_name",
        "pipeline_task_uuid",
    )
)
_TIMES = frozenset({"{{$.pipeline_job_create_time_utc}}", "{{$.pipeline_job_schedule_time_utc}}"})
BACKENDS = {
    each.version: each
    for each in (
        Backend(
            version="2.5",
            output_file_in_task_root=False,
            brings_siblings=True,
            driver_resolves_arguments=False,
            logs_by_try=False,
            null_for_optional=False,
            store_endpoint="minio-service.kubeflow:9000",
            store_retries=False,
            run_placeholders=_PLACEHOLDERS,
        ),
        Backend(
            version="2.15",
            output_file_in_task_root=True,
            brings_siblings=True,
            driver_resolves_arguments=False,
            logs_by_try=False,
            null_for_optional=True,
            store_endpoint="minio-service.kubeflow:9000",
            store_retries=True,
            run_placeholders=_PLACEHOLDERS,
        ),
        Backend(
            version="2.17",
            output_file_in_task_root=True,
            brings_siblings=False,
            driver_resolves_arguments=True,
            logs_by_try=True,
            null_for_optional=True,
            store_endpoint="seaweedfs.kubeflow:9000",
            store_retries=True,
            run_placeholders=_PLACEHOLDERS | _TIMES,
        ),
    )
}
# The one between: it has what came with 2.15 and what went with 2.17.
DEFAULT_VERSION = "2.15"


def backend(version: str) -> Backend:
    """Return a release by its version.

    Raises:
        CompiledPipelineError: it isn't emulated.
    """
    if version not in BACKENDS:
        raise CompiledPipelineError(
            f"--kfp-version: expected one of {', '.join(BACKENDS)}. Received: {version!r}. For a release "
            "between them, take the one before; releases before 2.5 can't run this pipeline"
        )
    return BACKENDS[version]
