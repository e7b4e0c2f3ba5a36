"""The cluster of a multi-worker training: from TF_CONFIG, or from the index of a pod.

>>> Cluster.of_pods("train-{index}.train:2222", workers=2, index=1).tf_config()
'{"cluster": {"worker": ["train-0.train:2222", "train-1.train:2222"]}, "task": {"type": "worker", "index": 1}}'
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from noisy_gru.schema.errors import ConfigError

TF_CONFIG = "TF_CONFIG"
# Kubernetes sets it in the pods of an indexed Job.
POD_INDEX = "JOB_COMPLETION_INDEX"

_CHIEF, _WORKER = "chief", "worker"
# Jobs of TensorFlow's parameter servers and Estimators, which mirrored training does not have.
_REFUSED = ("ps", "evaluator")


@dataclass(frozen=True)
class Cluster:
    """The processes that train one model together.

    Attributes:
        addresses: `host:port` of each, the chief's first.
        index: of this process among them.
        has_chief: whether TF_CONFIG has a job `chief`, as the Training Operator can set; else worker 0 is the chief.
    """

    addresses: tuple[str, ...]
    index: int
    has_chief: bool = False

    @classmethod
    def of_environment(cls, environment: Mapping[str, str]) -> Cluster | None:
        """Return the cluster of TF_CONFIG; None if it is not set, or has a single process.

        Raises:
            ConfigError: TF_CONFIG is invalid, or names unsupported jobs or a task that is not in the cluster.
        """
        text = environment.get(TF_CONFIG, "")
        if not text.strip():
            return None
        try:
            content = json.loads(text)
            jobs = {job: tuple(map(str, hosts)) for job, hosts in content.get("cluster", {}).items()}
            task = content.get("task", {})
            kind, index = task.get("type", _WORKER), int(task.get("index", 0))
        except (ValueError, TypeError, AttributeError) as error:
            raise ConfigError(
                f'{TF_CONFIG} must be JSON as {{"cluster": {{"worker": ["host:port", …]}}, "task": {{"type": "worker", '
                f'"index": 0}}}}. Received: {text} ({error})'
            ) from error
        refused = [job for job in jobs if job in _REFUSED or job not in (_CHIEF, _WORKER)]
        if refused:
            raise ConfigError(
                f"{TF_CONFIG} may name the jobs chief and worker only. Received: {', '.join(refused)}"
                ". Leave them out of the cluster."
            )
        addresses = (*jobs.get(_CHIEF, ()), *jobs.get(_WORKER, ()))
        if len(addresses) < 2:
            return None
        if kind not in jobs or not 0 <= index < len(jobs[kind]) or len(jobs.get(_CHIEF, ())) > 1:
            raise ConfigError(f"{TF_CONFIG} must name a task of its cluster, with one chief at most. Received: {text}")
        place = index + (len(jobs.get(_CHIEF, ())) if kind == _WORKER else 0)
        return cls(addresses, place, has_chief=_CHIEF in jobs)

    @classmethod
    def of_pods(cls, pattern: str, *, workers: int, index: int) -> Cluster:
        """Return the cluster of pods whose names differ by their index.

        Args:
            pattern: `host:port` with `{index}` in it.
            workers: number of pods.
            index: of this pod.

        Raises:
            ConfigError: the pattern lacks the index or the port, or the index is out of range.
        """
        if "{index}" not in pattern or not pattern.rpartition(":")[2].isdigit():
            raise ConfigError(
                f"Expected host:port with {{index}} in it, as train-{{index}}.train:2222. Received: {pattern}"
            )
        if not 0 <= index < workers:
            raise ConfigError(f"Expected an index from 0 to {workers - 1}, for {workers} workers. Received: {index}")
        return cls(tuple(pattern.replace("{index}", str(number)) for number in range(workers)), index)

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the outputs of the training."""
        return self.index == 0

    def tf_config(self) -> str:
        """Return the TF_CONFIG of this process."""
        first = 1 if self.has_chief else 0
        jobs = {_CHIEF: list(self.addresses[:first]), _WORKER: list(self.addresses[first:])}
        kind = _CHIEF if self.index < first else _WORKER
        index = self.index if kind == _CHIEF else self.index - first
        return json.dumps(
            {"cluster": {job: hosts for job, hosts in jobs.items() if hosts}, "task": {"type": kind, "index": index}}
        )
