"""The kustomize overlays: kubectl renders them, Kubernetes' own schemas know every field, and they agree with the code.

kubectl and the schemas are packages of the tests' environment.
"""

from __future__ import annotations

import copy
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from noisy_gru.pipeline.config.kubeflow_config import KubeflowConfig
from noisy_gru.pipeline.exit_codes import EXIT_CONFIG, EXIT_REFUSED
from noisy_gru.registry.config import BatchingConfig
from noisy_gru.registry.labels import Labels, ServedVersions
from noisy_gru.registry.server_files import render
from noisy_gru.trainer.distributed.cluster import Cluster
from tests.patience import PATIENCE

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "kubeflow" / "manifests"
OVERLAYS = (
    *("local", "object-store", "production", "without-kubeflow"),
    *("several-machines", "several-machines-tfjob", "several-machines-trainjob"),
)
KUBECTL = Path(sys.executable).parent / "kubectl"
# The oldest that knows all fields, and the newest that there are schemas of.
KUBERNETES = ("1.27", kubernetes_validate.latest_version())
# Of the Training Operator's custom resource definition, as far as it is used.
TFJOB_FIELDS = {
    "spec": {"runPolicy", "tfReplicaSpecs", "successPolicy", "enableDynamicWorker"},
    "runPolicy": {"activeDeadlineSeconds", "backoffLimit", "cleanPodPolicy", "ttlSecondsAfterFinished", "suspend"},
    "Worker": {"replicas", "restartPolicy", "template"},
}

# Of the Kubeflow Trainer's (2.3.0, manifests/base/crds), as far as they are used.
TRAINER_FIELDS = {
    "TrainJob": {
        "activeDeadlineSeconds",
        "initializer",
        "managedBy",
        "runtimePatches",
        "runtimeRef",
        "suspend",
        "trainer",
    },
    "trainer": {"args", "command", "env", "image", "numNodes", "numProcPerNode", "resourcesPerNode"},
    "TrainingRuntime": {"mlPolicy", "podGroupPolicy", "template"},
    "mlPolicy": {"flux", "jax", "mpi", "numNodes", "torch", "xgboost"},
}

Object = dict[str, Any]


def documents(text: str) -> list[Object]:
    return [document for document in yaml.safe_load_all(text) if document]


def written() -> list[tuple[Path, Object]]:
    return [(path, each) for path in sorted(MANIFESTS.rglob("*.yaml")) for each in documents(path.read_text())]


@cache
def rendered(overlay: str) -> dict[tuple[str, str], Object]:
    """The overlay's objects by kind and name."""
    command = [str(KUBECTL), "kustomize", str(MANIFESTS / "overlays" / overlay)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert (answer.returncode, answer.stderr) == (0, "")
    objects = {(each["kind"], each["metadata"]["name"]): each for each in documents(answer.stdout)}
    assert len(objects) == len(documents(answer.stdout))
    return objects


def base(kind: str, name: str) -> Object:
    return next(
        each for _, each in written() if each["kind"] == kind and each["metadata"]["name"] == name and "spec" in each
    )


def check(content: Object, version: str) -> None:
    """Ask Kubernetes' strict schema; of a TFJob, which it has none for, that of its pods.

    Raises:
        kubernetes_validate.ValidationError: a field is unknown, missing or of another type.
    """
    spec = content.get("spec", {})
    if content["kind"] == "TrainJob":
        assert spec.keys() <= TRAINER_FIELDS["TrainJob"] and spec["trainer"].keys() <= TRAINER_FIELDS["trainer"]
        return
    if content["kind"] == "TrainingRuntime":
        assert (
            spec.keys() <= TRAINER_FIELDS["TrainingRuntime"] and spec["mlPolicy"].keys() <= TRAINER_FIELDS["mlPolicy"]
        )
        (job,) = spec["template"]["spec"]["replicatedJobs"]
        kubernetes_validate.validate({"apiVersion": "batch/v1", "kind": "Job", **job["template"]}, version, strict=True)
        return
    if content["kind"] != "TFJob":
        kubernetes_validate.validate(content, version, strict=True)
        return
    (worker,) = spec["tfReplicaSpecs"].values()
    for name, fields in (("spec", spec), ("runPolicy", spec["runPolicy"]), ("Worker", worker)):
        assert fields.keys() <= TFJOB_FIELDS[name]
    pod = {"apiVersion": "v1", "kind": "Pod", **worker["template"]}
    kubernetes_validate.validate(pod, version, strict=True)


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubernetes_knows_every_field_of_an_overlay(overlay: str, version: str) -> None:
    for content in rendered(overlay).values():
        check(content, version)


@pytest.mark.parametrize("kind", ["Deployment", "TFJob", "TrainingRuntime"])
def test_a_field_that_is_none_is_found(kind: str) -> None:
    wrong = next(copy.deepcopy(each) for _, each in written() if each["kind"] == kind)
    (pod,) = [spec for spec in find(wrong, "spec") if "containers" in spec]
    check(wrong, KUBERNETES[-1])
    pod["containers"][0]["image_pull_policy"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError, match="image_pull_policy"):
        check(wrong, KUBERNETES[-1])


def test_every_file_is_an_object_or_a_kustomization_and_is_named_by_one() -> None:
    named = set()
    for path in MANIFESTS.rglob("kustomization.yaml"):
        (content,) = documents(path.read_text())
        for entry in [*content["resources"], *content.get("components", [])] if "resources" in content else []:
            file = (path.parent / entry).resolve()
            assert file.exists(), f"{path}: {entry}"
            named.add(file if file.suffix else file / "kustomization.yaml")
        named |= {(path.parent / each["path"]).resolve() for each in content.get("patches", []) if "path" in each}
    roots = {(MANIFESTS / "overlays" / overlay / "kustomization.yaml").resolve() for overlay in OVERLAYS}
    assert {path.resolve() for path, _ in written()} == named | roots
    assert {path.name for path in (MANIFESTS / "overlays").iterdir()} == set(OVERLAYS)


@pytest.mark.parametrize(
    ("overlay", "namespace"),
    [
        ("local", "kubeflow"),
        ("object-store", "noisy-gru"),
        ("production", "noisy-gru"),
        ("without-kubeflow", "noisy-gru"),
        ("several-machines", "noisy-gru"),
        ("several-machines-tfjob", "noisy-gru"),
        ("several-machines-trainjob", "noisy-gru"),
    ],
)
def test_all_is_in_one_namespace(overlay: str, namespace: str) -> None:
    for (kind, name), content in rendered(overlay).items():
        if kind == "Namespace":
            assert name == namespace
        else:
            assert content["metadata"]["namespace"] == namespace, (kind, name)
        if kind == "RoleBinding":
            assert content["subjects"] == [{"kind": "ServiceAccount", "name": name, "namespace": namespace}]


def test_what_the_overlays_are_for() -> None:
    local, production = rendered("local"), rendered("production")
    claims = [each["spec"]["accessModes"] for (kind, _), each in local.items() if kind == "PersistentVolumeClaim"]
    assert claims == [["ReadWriteOnce"]] * 2
    assert local["Deployment", "noisy-gru-serving"]["spec"]["replicas"] == 1
    assert ("ConfigMap", "kfp-launcher") not in local, "it is Kubeflow's own in that namespace"

    launcher = rendered("object-store")["ConfigMap", "kfp-launcher"]["data"]
    assert launcher["defaultPipelineRoot"] == "s3://my-bucket/pipelines"
    credentials = yaml.safe_load(launcher["providers"])["s3"]["default"]["credentials"]
    (secrets,) = [
        rule for rule in production["Role", "noisy-gru-pipeline"]["rules"] if rule["resources"] == ["secrets"]
    ]
    assert credentials["secretRef"]["secretName"] in secrets["resourceNames"]

    serving = production["Deployment", "noisy-gru-serving"]
    for kind, key in (("PodDisruptionBudget", "selector"), ("NetworkPolicy", "podSelector")):
        selected = production[kind, "noisy-gru-serving"]["spec"][key]["matchLabels"]
        assert selected.items() <= serving["spec"]["template"]["metadata"]["labels"].items()
    budget = production["PodDisruptionBudget", "noisy-gru-serving"]["spec"]["maxUnavailable"]
    assert budget < serving["spec"]["replicas"]

    alone = rendered("without-kubeflow")
    assert not {kind for kind, _ in alone} & {"ServiceAccount", "Role", "RoleBinding"}
    assert ("CronJob", "noisy-gru-run") in alone


def test_no_secret_is_rendered_and_every_claim_that_is_mounted_is_there() -> None:
    for overlay in OVERLAYS:
        objects = rendered(overlay)
        assert not [key for key in objects if key[0] == "Secret"]
        for content in objects.values():
            for claim in find(content, "claimName"):
                assert ("PersistentVolumeClaim", claim) in objects, (overlay, claim)


def find(content: Any, key: str) -> list[Any]:
    """All values of a key, at any depth."""
    if isinstance(content, dict):
        here = [content[key]] if key in content else []
        return here + [each for value in content.values() for each in find(value, key)]
    return [each for value in content for each in find(value, key)] if isinstance(content, list) else []


def pods() -> list[tuple[str, Object]]:
    """The pods' specifications, by kind."""
    found = [(each["kind"], spec) for _, each in written() for spec in find(each, "spec") if "containers" in spec]
    # A patch names no volumes.
    return [(kind, spec) for kind, spec in found if "volumes" in spec]


def test_pods_have_no_more_rights_than_they_need() -> None:
    found = pods()
    assert {kind for kind, _ in found} == {"Deployment", "Job", "CronJob", "TFJob", "TrainingRuntime"}
    for _, pod in found:
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["capabilities"]["drop"] == ["ALL"]
            assert "memory" in container["resources"]["limits"]
        # Who gives volumes to others has to be root.
        if not pod["containers"][0].get("command", [""])[-1].startswith("chown"):
            assert pod["securityContext"]["runAsNonRoot"] is True


def test_the_steps_account_may_do_what_the_launcher_does_and_nothing_more() -> None:
    (role,) = [each for _, each in written() if each["kind"] == "Role"]
    allowed = {
        (resource, verb, tuple(rule.get("resourceNames", ())))
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    secrets = ("mlpipeline-minio-artifact", "noisy-gru-object-store")
    assert allowed == {
        ("workflowtaskresults", "create", ()),
        ("workflowtaskresults", "patch", ()),
        ("configmaps", "get", ("kfp-launcher",)),
        ("secrets", "get", secrets),
    }
    assert not [each for _, each in written() if each["kind"].startswith("Cluster")]


# --- one truth, in two places ----------------------------------------------------------------------------------------


def published() -> dict[str, Object]:
    """What the Pusher writes beside the models, by kind."""
    model = ServedVersions(name="vowels", labels=Labels(stable=1, canary=1), num_versions=1)
    return {each["kind"]: each for each in documents(render("kubernetes.yaml", [model], BatchingConfig()))}


def test_the_server_is_the_one_that_the_pusher_writes_beside_the_models() -> None:
    here, there = base("Deployment", "noisy-gru-serving"), published()["Deployment"]
    for manifest in (here, there):
        container = manifest["spec"]["template"]["spec"]["containers"][0]
        probes = {name: container.pop(name) for name in ("startupProbe", "readinessProbe")}
        for probe in probes.values():
            # There the model's name is known; here TF Serving's health service is asked.
            assert probe.keys() & {"httpGet", "grpc"}
    assert here == there
    assert base("Service", "noisy-gru-serving") == published()["Service"]


def test_a_probe_asks_the_health_service_that_is_switched_on() -> None:
    container = base("Deployment", "noisy-gru-serving")["spec"]["template"]["spec"]["containers"][0]
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert "--enable_grpc_healthcheck_service=true" in container["args"]
    assert container["startupProbe"]["grpc"] == container["readinessProbe"]["grpc"] == {"port": ports["grpc"]}


def preparing_volumes() -> Object:
    return base("Job", "noisy-gru-prepare-volumes")["spec"]["template"]["spec"]


def test_claims_and_mount_paths_are_those_of_the_configuration() -> None:
    config = KubeflowConfig()
    claims = {each["metadata"]["name"] for _, each in written() if each["kind"] == "PersistentVolumeClaim"}
    assert config.volumes.keys() <= claims
    job = preparing_volumes()
    by_name = {each["name"]: each["persistentVolumeClaim"]["claimName"] for each in job["volumes"]}
    mounts = {by_name[each["name"]]: each["mountPath"] for each in job["containers"][0]["volumeMounts"]}
    assert mounts == config.volumes
    assert {config.data_root, config.serving_dir} == set(mounts.values())


def test_the_image_is_the_compiled_pipelines_and_its_user_owns_the_volumes() -> None:
    setup = (ROOT / "setup.py").read_text()
    version = setup.split('version="', 1)[1].split('"', 1)[0]
    images = {container["image"] for kind, pod in pods() if kind != "Deployment" for container in pod["containers"]}
    assert images == {f"noisy-gru-tfx:{version}"}
    dockerfile = (ROOT / "kubeflow" / "Dockerfile").read_text()
    user, group = dockerfile.split("\nUSER ", 1)[1].split(maxsplit=1)[0].split(":")
    job = preparing_volumes()
    assert f"chown {user}:{group} " in job["containers"][0]["command"][-1]
    runs = [pod["securityContext"] for _, pod in pods() if pod["securityContext"].get("fsGroup") == 0]
    assert len(runs) == 4
    for security in runs:
        assert (security["runAsUser"], security["runAsGroup"]) == (int(user), int(group))


def test_a_refused_model_is_not_trained_again_the_same_night() -> None:
    (cron,) = [each for _, each in written() if each["kind"] == "CronJob"]
    assert cron["spec"]["concurrencyPolicy"] == "Forbid"
    assert len(cron["spec"]["schedule"].split()) == 5
    rules = cron["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
    assert rules[0]["action"] == "FailJob"
    assert rules[0]["onExitCodes"]["values"] == [EXIT_CONFIG, EXIT_REFUSED]


def workers_arguments(job: Object) -> tuple[list[str], Object]:
    """What the pods of a training run, with their names filled in, and the first container."""
    (pod,) = [spec for spec in find(job, "spec") if "containers" in spec]
    (container,) = pod["containers"]
    assert container["command"] == ["python", "-m", "noisy_gru.trainer.distributed.worker"]
    return [argument.replace("$(RUN)", "run-1") for argument in container["args"]], container


def test_the_pods_of_an_indexed_job_find_each_other() -> None:
    objects = rendered("several-machines")
    job, service = objects["Job", "noisy-gru-train"], objects["Service", "noisy-gru-train"]
    arguments, container = workers_arguments(job)
    options = dict(argument.removeprefix("--").split("=", 1) for argument in arguments if "=" in argument)
    workers = int(options["workers"])
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == workers > 1
    assert job["spec"]["completionMode"] == "Indexed"
    # Kubernetes calls pod i of an indexed Job <job>-<i>, below the Service that its subdomain names.
    pod = job["spec"]["template"]["spec"]
    port = container["ports"][0]["containerPort"]
    expected = [f"{job['metadata']['name']}-{index}.{pod['subdomain']}:{port}" for index in range(workers)]
    assert Cluster.of_pods(options["hosts"], workers=workers, index=1).addresses == tuple(expected)
    assert pod["subdomain"] == service["metadata"]["name"] and service["spec"]["clusterIP"] == "None"
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()


def test_a_tfjobs_container_and_port_have_the_names_that_its_operator_looks_for() -> None:
    job = rendered("several-machines-tfjob")["TFJob", "noisy-gru-train"]
    _, container = workers_arguments(job)
    assert (container["name"], container["ports"][0]["name"]) == ("tensorflow", "tfjob-port")


def test_istio_puts_no_proxy_beside_a_pod() -> None:
    # As KFP does for the pods of its own runs: backend/src/apiserver/template/v2_template.go, 2.15.0:147.
    templates = [
        template
        for _, each in written()
        for template in find(each, "template")
        if "containers" in template.get("spec", {}) and "volumes" in template["spec"]
    ]
    assert len(templates) == len(pods())
    for template in templates:
        assert template["metadata"]["labels"]["sidecar.istio.io/inject"] == "false"


def test_the_pods_of_a_trainjob_find_each_other() -> None:
    objects = rendered("several-machines-trainjob")
    job, runtime = objects["TrainJob", "noisy-gru-train"], objects["TrainingRuntime", "noisy-gru-train"]
    reference, trainer = job["spec"]["runtimeRef"], job["spec"]["trainer"]
    assert (reference["kind"], reference["name"]) == (runtime["kind"], runtime["metadata"]["name"])
    options = dict(argument.removeprefix("--").split("=", 1) for argument in trainer["args"] if "=" in argument)
    workers = int(options["workers"])
    assert trainer["numNodes"] == runtime["spec"]["mlPolicy"]["numNodes"] == workers > 1
    # As the trainer names the first node of torch's: <TrainJob>-node-0-0.<TrainJob>
    # (pkg/runtime/framework/plugins/torch/torch.go, 2.3.0:162); its job and container are called node.
    expected = tuple(f"noisy-gru-train-node-0-{index}.noisy-gru-train:2222" for index in range(workers))
    assert Cluster.of_pods(options["hosts"], workers=workers, index=1).addresses == expected
    (replicated,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    (container,) = replicated["template"]["spec"]["template"]["spec"]["containers"]
    assert (replicated["name"], container["name"]) == ("node", "node")
    assert container["image"] == "registry.example.com/noisy-gru-tfx:0.2.0"
    # The run, its volumes and its rights are the indexed Job's.
    arguments, other = workers_arguments(rendered("several-machines")["Job", "noisy-gru-train"])
    assert trainer["command"] == other["command"]
    start = trainer["args"].index("--")
    assert trainer["args"][start:] == arguments[arguments.index("--") :]
    for key in ("env", "ports", "resources", "securityContext", "volumeMounts"):
        assert container[key] == other[key]


def test_both_jobs_run_the_same_on_what_all_pods_see() -> None:
    shapes = []
    for overlay, kind in (("several-machines", "Job"), ("several-machines-tfjob", "TFJob")):
        objects = rendered(overlay)
        arguments, container = workers_arguments(objects[kind, "noisy-gru-train"])
        run = arguments[arguments.index("--") + 1 :]
        assert run[:2] == ["noisy-gru", "run"]
        mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
        # The folder to meet in, and what Transform writes, are on the volume that is shared.
        assert arguments[0].startswith(f"{mounts['train']}/") and run[run.index("--root") + 1] == mounts["train"]
        assert objects["PersistentVolumeClaim", "noisy-gru-train"]["spec"]["accessModes"] == ["ReadWriteMany"]
        assert ("CronJob", "noisy-gru-run") not in objects
        preparing = find(objects["Job", "noisy-gru-prepare-volumes"], "command")[0][-1]
        mounted = [each["mountPath"] for each in find(objects["Job", "noisy-gru-prepare-volumes"], "volumeMounts")[0]]
        assert mounts["train"] in mounted
        assert all(preparing.count(each) == 2 for each in mounted), "each is given an owner and a mode"
        shapes.append((run, container["volumeMounts"], container["securityContext"], container["resources"]))
    assert shapes[0] == shapes[1]
