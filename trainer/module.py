"""The TFX module file, with the callbacks of Transform, Trainer and Tuner. It only delegates.

Each component gets the same `custom_config`: {"dataset": <DatasetConfig JSON>, "trainer": <TrainerConfig JSON>,
"fingerprint": <of the source>, "working_dir": <optional: folder of checkpoints>}.
"""

from __future__ import annotations

import os
from typing import Any

from noisy_gru.trainer.custom_config import CustomConfig
from noisy_gru.trainer.distributed.rendezvous import run_chief, training_cluster
from noisy_gru.trainer.distributed.replicas import local_strategy
from noisy_gru.trainer.preprocessing import preprocess
from noisy_gru.trainer.training import train
from noisy_gru.trainer.tuning import make_tuner


def preprocessing_fn(inputs: dict[str, Any], custom_config: dict[str, Any]) -> dict[str, Any]:
    """Transform's callback; see `noisy_gru.trainer.preprocessing`."""
    return preprocess(inputs, CustomConfig.parse(custom_config).dataset)


def run_fn(fn_args: Any) -> None:
    """Trainer's callback; see `noisy_gru.trainer.training`, and `rendezvous` for several machines."""
    custom_config = CustomConfig.parse(fn_args.custom_config)
    choice = custom_config.trainer.training.strategy
    cluster = training_cluster(choice, os.environ)
    if cluster is not None:
        run_chief(fn_args, cluster, os.environ)
    else:
        train(fn_args, custom_config, local_strategy(choice))


def tuner_fn(fn_args: Any) -> Any:
    """Tuner's callback; see `noisy_gru.trainer.tuning`."""
    from tfx.v1.components import TunerFnResult

    return TunerFnResult(tuner=make_tuner(fn_args, CustomConfig.parse(fn_args.custom_config)), fit_kwargs={})
