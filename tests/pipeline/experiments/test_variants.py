"""Variants from `--vary` and from scales; what is refused before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from noisy_gru.pipeline.config.loading import load_config
from noisy_gru.pipeline.experiments.variants import (
    compared_variants,
    known_metrics,
    noise_variants,
    require_eval_split,
)
from noisy_gru.schema.errors import ConfigError

EXAMPLES = Path(__file__).parents[3] / "examples"
VOWELS = EXAMPLES / "japanese_vowels" / "config.yaml"
WEATHER = EXAMPLES / "nycflights_weather" / "config.yaml"
HELD_OUT = ["splits.eval_from_train=0.3"]


def variants(*vary: str, overrides: list[str] = HELD_OUT):
    return compared_variants(VOWELS, load_config(VOWELS, overrides), vary, overrides)


def test_values_are_combined_and_the_configured_one_comes_first():
    found = variants("model.layers[0].units=32,64", "training.learning_rate=0.001,3e-3")
    assert [each.name for each in found] == [
        "configured",
        "model.layers.0.units=32 training.learning_rate=0.001",
        "model.layers.0.units=32 training.learning_rate=3e-3",
        "model.layers.0.units=64 training.learning_rate=0.001",
    ], "64 units at 0.003 are configured"
    assert [each.trainer.model.layers[0].units for each in found] == [64, 32, 32, 64]
    assert [each.trainer.training.learning_rate for each in found] == [0.003, 0.001, 0.003, 0.001]
    assert all(each.trainer.model.layers[1].units == 32 for each in found)
    assert found[1].values == {"model.layers.0.units": 32, "training.learning_rate": 0.001}


@pytest.mark.parametrize(
    ("vary", "read"),
    [
        ("model.hidden=[16],[16, 8]", lambda trainer: trainer.model.hidden),
        ("model.pooling=mean,max", lambda trainer: trainer.model.pooling),
        ("training.class_weights=null,balanced", lambda trainer: trainer.training.class_weights),
        ("training.schedule={kind: constant},{kind: cosine, final_fraction: 0.1}",
         lambda trainer: trainer.training.schedule.final_fraction),
    ],
)  # fmt: skip
def test_values_are_yaml(vary, read):
    found = [read(each.trainer) for each in variants(vary)]
    expected = {"model.h": [[], [16], [16, 8]], "model.p": ["last", "mean", "max"]}
    expected |= {"trainin": [None, "balanced"], "training.s": [0.01, 0.01, 0.1]}
    assert found == expected["training.s" if ".schedule" in vary else vary[:7]]


def test_what_the_overrides_set_is_the_configured_variant():
    found = variants("training.epochs=2,9", overrides=[*HELD_OUT, "training.epochs=9", "model.bidirectional=false"])
    assert [each.trainer.training.epochs for each in found] == [9, 2]
    assert not any(each.trainer.model.bidirectional for each in found)


def test_members_are_left_out():
    overrides = [*HELD_OUT, "training.members=5"]
    assert [each.trainer.training.members for each in variants("model.pooling=max", overrides=overrides)] == [1, 1]
    assert [each.trainer.training.members for each in noise_variants(load_config(VOWELS, overrides), [10])] == [1] * 3


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ("model.layers[0].unit=32", "model.layers.0.unit"),
        ("model.layers[3].units=32", "is a list of 3, so expected an index from 0 to 2, found 3"),
        ("model.layers[0].units=32,none", "--vary model.layers.0.units=none"),
        ("model.layers[0].units=0", "expected a value >= 1, found 0"),
        ("training.loss=focal", "training.loss"),
        ("model.target=difference", "model.target: difference needs task.kind: forecasting"),
        ("model.serving_step=true", "model.bidirectional: true reads each sequence from its end"),
        ("training.sampling=balanced,often", "--vary training.sampling=often"),
        ("data.max_length=50", "expected a key of model or training"),
        ("seed=1,2", "expected a key of model or training"),
        ("model=1", "expected a key of model or training"),
        ("training.members=1,5", "every training of an experiment is of a single model"),
        ("model.layers[0].units", "expected key=value,value"),
        ("model.layers[0].units=", "expected key=value,value"),
        ("=3", "expected key=value,value"),
        ("model.hidden=[16", "the values are not YAML"),
        ("model.pooling=mean,,max", "not YAML"),
        ("model.layers[0].units=64", "these are the values of the configuration already"),
    ],
)
def test_a_bad_variant_is_refused_by_name(vary, message):
    with pytest.raises(ConfigError) as refused:
        variants(vary)
    assert message in str(refused.value)
    assert "--vary" in str(refused.value)
    assert "--set" not in str(refused.value)


def test_a_key_that_is_given_twice_is_refused():
    with pytest.raises(ConfigError, match="given twice"):
        variants("model.layers[0].units=32", "model.layers.0.units=48")


def test_scales_multiply_every_layer_and_hold_none_and_the_configured():
    found = noise_variants(load_config(VOWELS), [10.0, 3.0])
    assert [each.name for each in found] == ["x0", "x1", "x3", "x10"]
    stddevs = [[layer.stddev for layer in each.trainer.model.layers] for each in found]
    assert stddevs == [[0, 0, 0], [0.1, 0.05, 0.025], pytest.approx([0.3, 0.15, 0.075]), [1.0, 0.5, 0.25]]
    assert found[1].trainer == load_config(VOWELS).trainer


def test_without_noise_or_an_eval_split_there_is_nothing_to_measure():
    silent = [f"model.layers.{index}.stddev=0" for index in range(3)]
    with pytest.raises(ConfigError, match=r"all are 0.*--set model\.layers\.0\.stddev=0\.1"):
        noise_variants(load_config(VOWELS, silent), [10.0])
    with pytest.raises(ConfigError, match=r"has none.*--set splits\.eval_from_train=0\.3"):
        require_eval_split(load_config(VOWELS), "noise")
    require_eval_split(load_config(VOWELS, HELD_OUT), "noise")
    require_eval_split(load_config(WEATHER), "compare")


def test_the_metrics_of_a_task():
    assert next(iter(known_metrics(load_config(VOWELS)).items())) == ("accuracy", "max")
    assert known_metrics(load_config(WEATHER)) == {"mae": "min", "loss": "min"}


def test_kinds_of_noise_follow_the_scales():
    found = noise_variants(load_config(VOWELS, HELD_OUT), [10], ["carried", "learned", "residual"])
    assert [each.name for each in found] == ["x0", "x1", "x10", "carried", "learned", "residual"]
    by_name = {each.name: each.trainer.model for each in found}
    assert [layer.noise for layer in by_name["carried"].layers] == ["carried"] * 3
    assert by_name["carried"].stddev == "layers" and by_name["learned"].stddev == "learned"
    assert all(
        [layer.stddev for layer in by_name[name].layers] == [0.1, 0.05, 0.025] for name in ("learned", "residual")
    )
    assert all(type(each.trainer).model_validate(each.trainer.model_dump()) == each.trainer for each in found)


def test_what_is_configured_is_no_other_kind():
    carried = load_config(VOWELS, [*HELD_OUT, *(f"model.layers.{index}.noise=carried" for index in range(3))])
    found = noise_variants(carried, [3, 10], ["carried", "learned"])
    assert [each.name for each in found] == ["x0", "x1", "learned"], "carried states have no scale"
    assert [layer.noise for layer in found[2].trainer.model.layers] == ["normal"] * 3
    auto = load_config(VOWELS, [*HELD_OUT, "model.stddev=auto"])
    found = noise_variants(auto, [10], ["residual"])
    assert [each.trainer.model.stddev for each in found] == ["layers", "layers", "layers", "residual"]


def test_an_unknown_kind_is_named():
    with pytest.raises(ConfigError, match="--kinds uniform: expected carried, learned, residual"):
        noise_variants(load_config(VOWELS, HELD_OUT), [10], ["uniform"])
