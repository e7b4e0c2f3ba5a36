"""Predict files into a folder of parts with the published model, completing what an earlier call began."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from noisy_gru.compat.extras import require
from noisy_gru.data.reading.tables import Source
from noisy_gru.data.requests.staged_input import stage_input
from noisy_gru.data.sequences.chunks import bucket_count
from noisy_gru.pipeline.batch_prediction.part_folder import PartFolder, begun_version, file_states, opened_folder
from noisy_gru.pipeline.batch_prediction.published_model import BATCH, load_model, predict_staged, published_model
from noisy_gru.pipeline.config.beam_config import beam_arguments
from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.pipeline.runs.output_redirection import output_to
from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.registry.published_versions import versions
from noisy_gru.schema.errors import DataError
from noisy_gru.serving.client.anomalies import check_anomalies, read_scores
from noisy_gru.serving.client.prediction_tables import Layout

# Unusable rows that a complete folder remembers.
_LINES_LEFT = 500


def predict_into_folder(
    config: PipelineConfig,
    sources: Sequence[Source],
    folder: Path,
    *,
    root: Path,
    log: Path,
    format_: str,
    layout: Layout,
    part_size: int | None,
    version: int | None = None,
    own: Collection[str] | None = None,
    restart: bool = False,
    anomalies: bool = False,
) -> dict[str, Any]:
    """Predict files into a folder of parts; see ``part_folder``.

    Args:
        config: configuration of the model.
        sources: files to predict.
        folder: of the parts; one that is complete stays as it is.
        root: root of the runs.
        log: receives the output of libraries.
        format_: `csv`, `jsonl` or `parquet`.
        layout: see ``prediction_table``.
        part_size: sequences of a part; None: on Beam, as the configuration's section ``beam`` says, a part for each
            bucket of entities.
        version: of the model; None: that with which the folder began, else the latest.
        own: names of the sources whose entities are predicted; the others only add earlier rows. None: all.
        restart: begin anew where the folder holds unfinished parts of another request, and raise an error where no
            sequence can be predicted.
        anomalies: a forecast is made from each step before one whose value came, with its p-value (in ``own``).

    Returns:
        The content of _SUCCESS: numbers of `parts` and `sequences`, `version`, `unused` rows by reason, and the first
        `unusable` ones.

    Raises:
        UserError: the folder holds something else, or the model or a file can't be used.
    """
    require("tensorflow", "noisy-gru predict without --server")
    if version is None:
        version = begun_version(folder)
        if restart and version not in versions(RunDirectory(root).serving / config.model_name):
            version = None
    version = int(published_model(root, config.model_name, version).name)
    request = {
        "model": config.model_name,
        "version": version,
        "data": hashlib.sha256(config.dataset.model_dump_json().encode()).hexdigest(),
        "inputs": file_states(sources),
        "format": format_,
        "layout": layout,
        "part_size": part_size,
        **({"anomalies": True} if anomalies else {}),
    }
    scores = None
    if anomalies:
        check_anomalies(config.task)
        scores = read_scores(published_model(root, config.model_name, version))
    if part_size is None:
        require("apache_beam", "noisy-gru predict --beam")
    with opened_folder(folder, request, BATCH, restart=restart) as parts:
        if (result := parts.result) is not None:
            return result
        if part_size is None:
            try:
                with output_to(log):
                    model_folder = published_model(root, config.model_name, version)
                    result = _predict_with_beam(config, sources, parts, model_folder)
            except DataError:
                # Found after parts were written: the corrected files are another request.
                for path in folder.glob("part-*"):
                    path.unlink()
                raise
            parts.succeed({**result, "version": version})
            return {**result, "version": version}
        with output_to(log), ExitStack() as stack:
            staged = stage_input(sources, config.dataset, parts.work, own=own, with_actual=anomalies)
            if restart and next(staged.batches(1), None) is None:
                raise DataError(
                    f"no sequence came of {staged.report.rows_read:,} rows in {len(sources)} files: "
                    f"{_reasons(staged.report.quarantined + staged.report.dropped) or 'none was unusable'}"
                )
            model = stack.enter_context(load_model(root, config.model_name, version))
            number, sequences = parts.write(lambda first: predict_staged(model, staged, config.task, first, scores))
        result = {
            "parts": number,
            "sequences": sequences,
            "version": version,
            "unused": dict(staged.report.quarantined + staged.report.dropped),
            "unusable": staged.unusable[:_LINES_LEFT],
        }
        parts.succeed(result)
        return result


def _predict_with_beam(
    config: PipelineConfig, sources: Sequence[Source], parts: PartFolder, model: Path
) -> dict[str, Any]:
    # Beam takes seconds to import.
    from noisy_gru.pipeline.batch_prediction.beam_prediction import run_beam_prediction

    sizes = [int(state["size"]) for state in parts.request["inputs"]]
    report = run_beam_prediction(
        config.dataset,
        sources,
        folder=parts.folder.absolute(),
        work=parts.work.absolute(),
        model=model.absolute(),
        buckets=bucket_count((source.format, size) for source, size in zip(sources, sizes, strict=True)),
        format_=parts.request["format"],
        layout=parts.request["layout"],
        anomalies=parts.request.get("anomalies", False),
        arguments=beam_arguments(config.beam, sum(sizes)),
    )
    examples = [{"reason": reason, **record} for reason, records in report.examples.items() for record in records]
    return {
        "parts": len([*parts.folder.glob("part-*")]),
        "sequences": report.sequences.total(),
        "unused": dict(report.quarantined + report.dropped),
        "unusable": examples,
    }


def _reasons(unused: Any) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(unused.items()))
