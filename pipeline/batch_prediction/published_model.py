"""The published model in a Session: load a version, and predict staged input with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from noisy_gru.data.requests.staged_input import StagedInput
from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.registry.published_versions import versions
from noisy_gru.saved_model.conformal_scores import ConformalScores
from noisy_gru.saved_model.session_process import SessionProcess
from noisy_gru.schema.config import TaskConfig
from noisy_gru.schema.errors import ModelError, UserError
from noisy_gru.serving.client.anomalies import with_p_values
from noisy_gru.serving.client.prediction_columns import Part
from noisy_gru.serving.client.predictions import Predictions

# The answer to a sequence depends on its batch in the last digit, so batches are the same however files are cut.
BATCH = 512
# Attempts to load the latest version while versions are removed.
_TRIES = 20


def published_model(root: Path, model_name: str, version: int | None = None) -> Path:
    """Return the folder of a published version, by default the latest; raise ``UserError`` if there is none."""
    folder = RunDirectory(root).serving / model_name
    found = versions(folder)
    if not found:
        raise UserError(f"{folder}: no published model. Run the pipeline first, or give its root with --root")
    if version is not None and version not in found:
        raise UserError(
            f"{folder}: expected a published version, found {version}; versions here: {', '.join(map(str, found))}"
        )
    return folder / str(version if version is not None else found[-1])


def load_model(root: Path, model_name: str, version: int | None) -> SessionProcess:
    """Load the published model; if the latest version is removed meanwhile, the one that is the latest then.

    Raises:
        UserError: the given version is gone, or the model can't be loaded.
    """
    model_dir = RunDirectory(root).serving / model_name
    for _ in range(_TRIES):
        if version is None and not versions(model_dir):
            # The folder was read between a publication and the removal of the previous version.
            continue
        folder = published_model(root, model_name, version)
        try:
            return SessionProcess(folder)
        except ModelError:
            # Publishing and pruning rename a version before anything of it is deleted.
            if folder.is_dir():
                raise
    raise UserError(f"{model_dir}: versions were removed while they were loaded, {_TRIES} times. Try again")


def predict_staged(
    model: SessionProcess,
    staged: StagedInput,
    task: TaskConfig,
    first: int = 0,
    scores: ConformalScores | None = None,
) -> Iterator[Predictions]:
    """Yield the model's predictions for each batch of staged input, from the sequence of number ``first`` on.

    With ``scores`` the answers have the p-values of what came, which ``staged`` holds.

    Raises:
        ModelError: the model fails.
    """
    version = int(model.directory.name)
    for batch in staged.batches(BATCH, first):
        outputs = model.run("serving_default", {"examples": batch.examples})
        outputs = with_p_values(outputs, batch.actual, scores)
        places = {name: place for place, name in enumerate(batch.ids)}
        yield Predictions(task, [Part(batch.ids, outputs, version)], origins=batch.origins, places=places)
