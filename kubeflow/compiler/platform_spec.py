"""Platform spec, the second document of a compiled pipeline: Kubernetes settings, as kfp-kubernetes writes them.

TFX writes none. Each executor gets the same volumes, secrets, selectors and pull policy, and its step's own besides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kubernetes.utils import parse_quantity

from noisy_gru.pipeline.config.kubeflow_config import KubeflowConfig, StepConfig, TolerationConfig
from noisy_gru.schema.durations import parse_duration
from noisy_gru.schema.errors import ConfigError

DEFAULT_STEP = "default"
# Seconds until the second try, and by what each wait is longer than the one before.
_FIRST_WAIT, _FACTOR = 30, 2
# Seconds that a try may wait for a node and an image, and take if it has no limit.
_START, _UNLIMITED = 3600, 7 * 24 * 3600


def step_config(config: KubeflowConfig, step: str) -> StepConfig:
    """Return the settings of a step: its own, else the defaults."""
    return config.steps.get(step) or config.steps.get(DEFAULT_STEP) or StepConfig()


def check_steps(config: KubeflowConfig, steps: Iterable[str]) -> None:
    """Check that ``kubeflow.steps`` names steps of the graph.

    Raises:
        ConfigError: it names another.
    """
    known = sorted(steps)
    for name in config.steps:
        if name != DEFAULT_STEP and name not in known:
            raise ConfigError(
                f"kubeflow.steps.{name}: expected a step of the pipeline or {DEFAULT_STEP}: {', '.join(known)}"
            )


def resources(step: StepConfig) -> dict[str, Any]:
    """Return a step's limits as a ``ResourceSpec``: as text, and as numbers for older backends (GB are 10^9)."""
    result: dict[str, Any] = {}
    if step.cpu is not None:
        result |= {"resourceCpuLimit": step.cpu, "cpuLimit": float(parse_quantity(step.cpu))}
    if step.memory is not None:
        result |= {"resourceMemoryLimit": step.memory, "memoryLimit": float(parse_quantity(step.memory)) / 1e9}
    if step.accelerator is not None:
        kind, count = step.accelerator, step.accelerators
        result["accelerator"] = {"type": kind, "count": str(count), "resourceType": kind, "resourceCount": str(count)}
    return result


def retry_policy(config: KubeflowConfig, step: str) -> dict[str, Any] | None:
    """Return the retry policy of a step; None for no retries.

    ``backoffMaxDuration`` is no limit of a wait: counted from the first start, it is when no try is begun any more and
    when a running one is ended (Argo Workflows 3.7.3, workflow/controller/operator.go:1007-1065); without it, it is 0
    from KFP 2.15 on (compiler/argocompiler/container.go:393). So all tries must fit in.
    """
    if not config.retries:
        return None
    limit = _seconds(step_config(config, step)) or _UNLIMITED
    waits = sum(_FIRST_WAIT * _FACTOR**number for number in range(config.retries))
    return {
        "maxRetryCount": config.retries,
        "backoffDuration": f"{_FIRST_WAIT}s",
        "backoffFactor": float(_FACTOR),
        "backoffMaxDuration": f"{waits + (config.retries + 1) * (limit + _START)}s",
    }


def _seconds(step: StepConfig) -> int | None:
    return None if step.time_limit is None else int(parse_duration(step.time_limit).total_seconds())


def platform_spec(config: KubeflowConfig, executors: Mapping[str, str]) -> dict[str, Any]:
    """Return the platform spec.

    Args:
        config: volumes, secrets and so on.
        executors: executor label to step.
    """
    pods = {label: _pod(config, step_config(config, step)) for label, step in executors.items()}
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": pods}}}}


def _pod(config: KubeflowConfig, step: StepConfig) -> dict[str, Any]:
    pod: dict[str, Any] = {"imagePullPolicy": config.image_pull_policy}
    if config.volumes:
        # `constant` and `secretName` are what older backends read.
        pod["pvcMount"] = [
            {"mountPath": path, "constant": claim, "pvcNameParameter": _constant(claim)}
            for claim, path in sorted(config.volumes.items())
        ]
    if config.secrets:
        pod["secretAsEnv"] = [
            {
                "secretName": source.secret,
                "secretNameParameter": _constant(source.secret),
                "keyToEnv": [{"secretKey": source.key, "envVar": variable}],
                "optional": False,
            }
            for variable, source in sorted(config.secrets.items())
        ]
    if config.image_pull_secrets:
        pod["imagePullSecret"] = [
            {"secretName": name, "secretNameParameter": _constant(name)} for name in config.image_pull_secrets
        ]
    if limit := _seconds(step):
        pod["activeDeadlineSeconds"] = str(limit)
    if labels := {**config.node_selector, **step.node_selector}:
        pod["nodeSelector"] = {"labels": labels}
    if tolerations := [*config.tolerations, *step.tolerations]:
        pod["tolerations"] = [_toleration(each) for each in tolerations]
    return pod


def _constant(value: str) -> dict[str, Any]:
    return {"runtimeValue": {"constant": value}}


def _toleration(config: TolerationConfig) -> dict[str, Any]:
    return config.model_dump(exclude_none=True)
