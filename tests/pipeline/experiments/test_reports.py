"""The reports of experiments: numbers by NumPy and scipy, and sentences for known cases."""

from __future__ import annotations

import io

import numpy as np
import pytest
import yaml
from scipy import stats

from noisy_gru.pipeline.cli.experiments_view import show_comparison, show_noise
from noisy_gru.pipeline.experiments.comparison_report import comparison_report
from noisy_gru.pipeline.experiments.engine import Trials
from noisy_gru.pipeline.experiments.epochs_to_level import epochs_to_level, level_of
from noisy_gru.pipeline.experiments.noise_report import layers_yaml, noise_report
from noisy_gru.pipeline.experiments.noise_verdict import Effect, judge_noise
from noisy_gru.pipeline.experiments.variants import Variant, of_kind
from noisy_gru.trainer.model_config import LayerConfig
from tests.pipeline.experiments.trials import SCALES, TRAINER, noise_trials, result


def test_the_noise_report_has_scipys_intervals_against_none_and_the_configured():
    trials = noise_trials()
    report = noise_report(trials, TRAINER, pipeline="vowels", metric="accuracy", best="max")
    by_name = {each["name"]: each for each in report["scales"]}
    for start in ("zero", "carried"):
        values = {
            name: [
                trials.results[name, seed]["metrics" if start == "zero" else "first_states"]
                for seed in range(8)
            ]
            for name in by_name
        }  # fmt: skip
        numbers = {
            name: np.array([each["accuracy"] if start == "zero" else each[start]["accuracy"] for each in rows])
            for name, rows in values.items()
        }
        for base, key in (("x0", "against_none"), ("x1", "against_configured")):
            measure = by_name["x10"]["measures"][start]
            expected = stats.ttest_rel(numbers["x10"], numbers[base]).confidence_interval(0.95)
            assert measure["mean"] == pytest.approx(numbers["x10"].mean())
            assert measure["spread"] == pytest.approx(numbers["x10"].std(ddof=1))
            found = measure[key]
            assert (found["low"], found["high"], found["pairs"]) == pytest.approx((expected.low, expected.high, 8))
    assert by_name["x0"]["measures"]["zero"]["against_none"] is None
    assert by_name["x1"]["stddev"] == [0.1, 0.05, 0.025]
    assert report["not_measured"] == {"burn_in_5": "the model reads both ways"}
    assert report["suggestion"]["scale"] == 10
    assert report["suggestion"]["set"] == [f"model.layers.{i}.stddev={v}" for i, v in enumerate((1.0, 0.5, 0.25))]
    assert report["auto"]["scale"] in ("x0", "x1", "x10")
    stream = io.StringIO()
    show_noise(report, stream)
    text = stream.getvalue()
    assert "buys 4.9 points of accuracy" in text or "buys 5.0 points of accuracy" in text
    assert "{units: 64, stddev: 1.0}" in text
    assert "not measured: accuracy, from the middle, 5 steps of burn-in: the model reads both ways" in text
    assert "8 seeds" in text


def test_a_report_without_a_complete_seed_says_how_to_go_on():
    trials = noise_trials(pairs=1)
    del trials.results["x10", 0]
    for make, show in ((noise_report, show_noise), (None, show_comparison)):
        stream = io.StringIO()
        if make is not None:
            report = noise_report(trials, TRAINER, pipeline="vowels", metric="accuracy", best="max")
        else:
            report = comparison_report(trials, pipeline="vowels", metric="accuracy", best="max")
        show(report, stream)
        assert "run it again to go on" in stream.getvalue()


def test_a_scale_that_failed_is_named_and_left_out():
    trials = noise_trials()
    trials.failed["x10"] = "The training loss became nan in epoch 1."
    del trials.results["x10", 3]
    report = noise_report(trials, TRAINER, pipeline="vowels", metric="accuracy", best="max")
    assert [each["name"] for each in report["scales"]] == ["x0", "x1"]
    assert len(report["seeds"]) == 8
    assert "x10" not in report["verdict"]
    stream = io.StringIO()
    show_noise(report, stream)
    assert "left out: x10: The training loss became nan in epoch 1." in stream.getvalue()


def test_the_level_lies_on_the_slope():
    # Medians of the first losses (2.0) and of the lowest ones (0.5): nine tenths of the way down.
    level = level_of([[2.0, 1.0, 0.5], [1.5, 0.4, 0.6], [3.0, 0.7, 0.8]])
    assert level == pytest.approx(0.65)
    assert level_of([[1.0]]) == 1.0


@pytest.mark.parametrize(
    ("losses", "epochs"),
    [
        ([2.0, 1.0, 0.5], 2.5),  # half of the way between the second and the third
        ([0.7, 0.1], 1.0),  # after the first epoch; nobody knows what was before it
        ([2.0, 0.75, 3.0, 0.1], 2.0),  # for the first time
        ([2.0, 1.0, 0.9], 40.0),  # never
        ([2.0, 0.75], 2.0),
        ([float("inf"), 0.5], 2.0),
    ],
)
def test_epochs_to_a_level(losses, epochs):
    assert epochs_to_level(losses, 0.75, 40) == epochs


def test_a_plateau_does_not_decide():
    """Trainings that learn equally fast, and whose lowest losses come at any time on a flat bottom."""
    random = np.random.default_rng(1)
    slope = 0.05 + 2 * np.exp(-np.arange(60) / 3)
    histories = [list(slope + 1e-3 * random.standard_normal(60)) for _ in range(16)]
    level = level_of(histories[:8])
    found = np.array([epochs_to_level(each, level, 60) for each in histories])
    assert np.ptp(found) < 0.05
    assert np.ptp([int(np.argmin(each)) for each in histories]) > 10


def test_what_never_reaches_the_level_is_named():
    trials = noise_trials(pairs=3)
    for seed in (1, 2):
        trials.results["x10", seed]["history"]["val_loss"] = [1.0, 0.9]
    report = noise_report(trials, TRAINER, pipeline="vowels", metric="accuracy", best="max")
    level = report["level"]
    assert level["loss"] == pytest.approx(1.0 - 0.9 * 0.7)
    assert level["never_reached"] == {"x0": [], "x1": [], "x10": [1, 2]}
    by_name = {each["name"]: each["measures"]["epochs_to_level"]["by_seed"] for each in report["scales"]}
    most = float(TRAINER.training.epochs)
    # From 0.5 to 0.3 between the second and the third epoch, or from 0.4.
    assert by_name["x0"] == pytest.approx([2 + 0.13 / 0.2] * 3)
    assert by_name["x10"] == pytest.approx([2 + 0.03 / 0.1, most, most])
    stream = io.StringIO()
    show_noise(report, stream)
    assert "x10: never reached with seed 1, 2; counted as all epochs" in stream.getvalue()


def test_the_suggested_lines_are_a_configurations():
    layers = [LayerConfig(units=8, stddev=3 * 0.025), LayerConfig(units=4, stddev=0.0, noise="uniform", dropout=0.2)]
    text = layers_yaml(layers)
    assert "0.075}" in text
    assert [LayerConfig.model_validate(each) for each in yaml.safe_load(text)["model"]["layers"]] == [
        layers[0].model_copy(update={"stddev": 0.075}),
        layers[1],
    ]


def effects(pairs: int = 8, **gains: float) -> list[Effect]:
    """Effects of x1 and x10: a mean gain with a spread of 0.004, by scale and start, `x10_carried=0.05`."""
    random = np.random.default_rng(1)
    drawn = random.standard_normal(pairs)
    drawn = 0.004 * (drawn - drawn.mean()) / drawn.std(ddof=1)
    found = []
    for name in ("x1", "x10", "carried"):
        for start in ("zero", "carried", "burn_in_5"):
            gain = gains.get(f"{name}_{start}", 0.0)
            found.append(Effect(name, start, list(0.9 + gain + drawn), [0.9] * pairs))
    return found


@pytest.mark.parametrize(
    ("gains", "best", "sentence", "scale"),
    [
        ({}, "max", "On your data the noise does nothing that 8 pairs can tell: leave stddev as it is, or set it to "
         "0.", 1),
        ({"x10_carried": 0.047}, "max", "x10 buys 4.7 points of accuracy for streams that start from another "
         "sequence's state, at no measurable cost.", 10),
        ({"x10_carried": 0.047, "x10_zero": -0.02}, "max", "x10 buys 4.7 points of accuracy for streams that start "
         "from another sequence's state, and costs 2.0 points of accuracy from the first state that is served: take it "
         "only where the first state is often wrong.", 10),
        ({"x10_carried": 0.047, "x10_burn_in_5": -0.02}, "max", "x10 buys 4.7 points of accuracy for streams that "
         "start from another sequence's state, and costs 2.0 points of accuracy for streams that are picked up in "
         "their middle (5 steps of burn-in).", 10),
        ({"x10_zero": 0.03}, "max", "x10 buys 3.0 points of accuracy from the first state that is served.", 10),
        ({"x1_burn_in_5": 0.03}, "max", "x1 buys 3.0 points of accuracy for streams that are picked up in their middle "
         "(5 steps of burn-in), at no measurable cost.", 1),
        ({"x1_zero": -0.03, "x10_zero": -0.05}, "max", "On your data the configured noise costs 3.0 points of accuracy "
         "and buys nothing: set stddev to 0.", 0),
        ({"x10_zero": -0.05}, "max", "On your data the noise does nothing that 8 pairs can tell: leave stddev as it "
         "is, or set it to 0 (x10 costs 5.0 points of accuracy).", 1),
        # Of an error, less is better.
        ({"x10_carried": 0.047}, "min", "On your data the noise does nothing that 8 pairs can tell", 1),
        ({"x10_carried": -0.09, "x10_zero": -0.045}, "min", "x10 buys 0.09 of mae (10.0 %) for streams that start from "
         "another sequence's state, and 0.045 of mae (5.0 %) from the first state that is served.", 10),
        ({"carried_carried": 0.06, "x10_carried": 0.05}, "max", "noise: carried buys 6.0 points of accuracy for "
         "streams that start from another sequence's state, at no measurable cost.", "carried"),
        ({"carried_zero": -0.05}, "max", "On your data the noise does nothing that 8 pairs can tell: leave stddev as "
         "it is, or set it to 0 (noise: carried costs 5.0 points of accuracy).", 1),
        # Both scales help: the one that gains more.
        ({"x1_carried": 0.01, "x10_carried": 0.05}, "max", "x10 buys 5.0 points", 10),
        ({"x1_carried": 0.03, "x10_carried": 0.04, "x10_zero": -0.06}, "max", "x1 buys 3.0 points", 1),
    ],
)  # fmt: skip
def test_the_verdict(gains, best, sentence, scale):
    found = judge_noise(effects(**gains), metric="accuracy" if best == "max" else "mae", best=best)
    assert found.sentence.startswith(sentence)
    assert found.name == (scale if isinstance(scale, str) else f"x{scale}")


def test_one_pair_is_no_verdict():
    found = judge_noise(effects(pairs=2, x10_zero=0.5)[:1], metric="accuracy", best="max")
    assert found.name == "x1", "x1 alone, no difference"
    single = [Effect("x1", "zero", [0.9], [0.1])]
    assert judge_noise(single, metric="accuracy", best="max").name is None


def test_chance_alone_finds_something_in_about_one_report_of_twenty():
    random = np.random.default_rng(7)
    reports = 400
    found = 0
    for _ in range(reports):
        drawn = [
            Effect(f"x{scale:g}", start, list(random.standard_normal(6)), list(random.standard_normal(6)))
            for scale in (1.0, 3.0, 10.0)
            for start in ("zero", "carried", "burn_in_0", "burn_in_5")
        ]
        found += judge_noise(drawn, metric="mae", best="min").sentence.startswith("x")
    # Gains alone are half of the 5 %.
    assert stats.binomtest(found, reports, 0.025, alternative="greater").pvalue > 1e-3


def test_a_comparison_ranks_by_the_metric_and_tells_chance_from_difference():
    random = np.random.default_rng(2)
    variants = [Variant(name, TRAINER) for name in ("configured", "wider", "same")]
    results = {}
    for seed in range(5):
        base = 0.8 + 0.05 * random.standard_normal()
        for name, gain in (("configured", 0.0), ("wider", 0.1), ("same", -0.001)):
            results[name, seed] = result(base + gain + 0.004 * random.standard_normal(), 0.5, [1.0, 0.5])
    trials = Trials(variants, list(range(5)), results)
    report = comparison_report(trials, pipeline="vowels", metric="accuracy", best="max")
    assert (report["variants"][0]["rank"], report["variants"][0]["name"]) == (1, "wider")
    by_name = {each["name"]: each for each in report["variants"]}
    assert by_name["wider"]["outcome"] == "better"
    assert by_name["same"]["outcome"] == "no difference found"
    assert by_name["configured"]["difference"] is None
    wider, configured = (
        [results[name, seed]["metrics"]["accuracy"] for seed in range(5)] for name in ("wider", "configured")
    )
    expected = stats.ttest_rel(wider, configured).confidence_interval(0.95)
    found = by_name["wider"]["difference"]
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high))
    worst_first = comparison_report(trials, pipeline="vowels", metric="accuracy", best="min")
    assert worst_first["variants"][-1]["name"] == "wider"
    assert worst_first["variants"][-1]["outcome"] == "worse"
    stream = io.StringIO()
    show_comparison(report, stream)
    assert "eval split, 5 seeds; intervals: 95 %, paired by seed, Student's t" in stream.getvalue()


def test_a_kind_has_a_table_of_its_own_and_lines_of_the_configuration():
    trials = noise_trials()
    for name in ("carried", "learned"):
        trials.variants.append(Variant(name, of_kind(TRAINER, name), {"kind": name}))
        for seed in range(8):
            best = trials.results["x10", seed]
            gain = 0.05 if name == "carried" else 0.0
            start = {**best["first_states"]["carried"], "accuracy": best["first_states"]["carried"]["accuracy"] + gain}
            trials.results[name, seed] = {**best, "first_states": {**best["first_states"], "carried": start}}
    report = noise_report(trials, TRAINER, pipeline="vowels", metric="accuracy", best="max")
    assert [each["kind"] for each in report["scales"]] == [None, None, None, "carried", "learned"]
    assert report["suggestion"]["kind"] == "carried" and "noise: carried" in report["suggestion"]["yaml"]
    assert "model.layers.2.noise=carried" in report["suggestion"]["set"]
    sums = {
        f"x{scale:g}": np.mean(
            [
                trials.results[f"x{scale:g}", seed]["metrics"]["loss"]
                + trials.results[f"x{scale:g}", seed]["first_states"]["carried"]["loss"]
                for seed in range(8)
            ]
        )
        for scale in SCALES
    }
    assert report["auto"]["sums"] == pytest.approx(sums)
    assert report["auto"]["scale"] == min(sums, key=lambda name: sums[name])
    stream = io.StringIO()
    show_noise(report, stream)
    assert "Kinds, against no noise" in stream.getvalue()
    assert "noise: carried buys" in stream.getvalue()
