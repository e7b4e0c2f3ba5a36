"""The configuration reference in docs/ is what the models say."""

from pathlib import Path

from noisy_gru.pipeline.config.config_reference import render

PAGE = Path(__file__).parents[2] / "docs" / "config-reference.md"


def test_page_is_current():
    assert PAGE.read_text(encoding="utf-8") == render(), "run `make docs` and commit docs/config-reference.md"


def test_page_states_type_default_and_meaning_of_a_key():
    line = next(line for line in render().splitlines() if line.startswith("| `clip_norm`"))
    assert line == "| `clip_norm` | number or null | `1.0` | Largest global norm of the gradient. |"
