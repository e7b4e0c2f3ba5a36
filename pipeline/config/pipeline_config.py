"""The configuration of a pipeline, composed of the sections of all rooms."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, model_validator

from noisy_gru.components.evaluation.config import EvaluationConfig
from noisy_gru.pipeline.config.beam_config import BeamConfig, InProcessBeam
from noisy_gru.pipeline.config.kubeflow_config import KubeflowConfig
from noisy_gru.pipeline.config.retraining_config import RetrainingConfig
from noisy_gru.pipeline.config.score_config import ScoreConfig
from noisy_gru.pipeline.config.tracking_config import TrackingConfig
from noisy_gru.schema.config import (
    ClassificationConfig,
    DataConfig,
    DatasetConfig,
    EntitySplitConfig,
    ForecastingConfig,
    MultiLabelConfig,
    Section,
    SplitsConfig,
    TaskConfig,
)
from noisy_gru.schema.html_tables import html_heading, html_table
from noisy_gru.schema.task_config import targets_of
from noisy_gru.serving.config import ServingConfig
from noisy_gru.trainer.config import TrainerConfig, TunerConfig
from noisy_gru.trainer.model_config import ModelConfig
from noisy_gru.trainer.training_config import FocalLossConfig, TrainingConfig


class MetadataConfig(Section):
    """Store of ML Metadata: SQLite under the root by default, or a MySQL or PostgreSQL server."""

    kind: Literal["mysql", "postgresql"] | None = Field(
        default=None, description="What the server at `host` is; null: MySQL."
    )
    host: str | None = Field(default=None, description="Host of the server; null keeps metadata in SQLite.")
    port: int | None = Field(
        default=None, ge=1, le=65535, description="Its port; null: 3306 for MySQL, 5432 for PostgreSQL."
    )
    database: str | None = Field(
        default=None,
        description="Its database; of PostgreSQL in lower-case letters, digits and underscores.",
    )
    user: str | None = Field(default=None, description="User to log in as.")
    password_env: str | None = Field(default=None, description="Environment variable with the password.")

    @model_validator(mode="after")
    def _complete(self) -> MetadataConfig:
        if self.host is None and self.kind is not None:
            raise ValueError(f"kind {self.kind} needs host, database and user, too")
        if self.host is not None and (self.database is None or self.user is None):
            raise ValueError(f"the host of a {self.server_name} server needs database and user, too")
        # ML Metadata creates the database under its unquoted name, which PostgreSQL reads as lower case.
        if self.kind == "postgresql" and not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", self.database or "_"):
            raise ValueError(
                "database: expected lower-case letters, digits and underscores, at most 63, not beginning with a "
                f"digit; received {self.database!r}"
            )
        return self

    @property
    def server_name(self) -> str:
        """The server's kind as people write it."""
        return "PostgreSQL" if self.kind == "postgresql" else "MySQL"

    @property
    def server_port(self) -> int:
        """``port``, or that of the kind."""
        return self.port or (5432 if self.kind == "postgresql" else 3306)


class ReportConfig(Section):
    """The report of a run, a page beside its record."""

    enabled: bool = Field(default=True, description="Whether each run writes it; `noisy-gru report` does at any time.")
    examples: bool = Field(
        default=True,
        description="Whether it shows data: rejected rows, sequences, worst cases, names of series. Without them it "
        "holds counts, statistics and metrics, with the names of classes and slices.",
    )
    explain_seconds: float = Field(
        default=0.5,
        ge=0,
        le=3600,
        description="Seconds of processor time that the ServingGate may spend on what the answers depend on: how much "
        "worse they become where a feature, or a part of the time, is exchanged between sequences of the test split. "
        "0: not measured.",
    )


NAME = r"^[a-z0-9][a-z0-9-]*$"


class PipelineConfig(Section):
    """The whole configuration of a pipeline."""

    name: str = Field(pattern=NAME, description="Name of the pipeline: lower case, digits, hyphens.")
    seed: int = Field(
        default=0, ge=0, lt=2**31, description="Seed of all randomness: splits, weights, noise, shuffling."
    )
    schema_path: str = Field(
        alias="schema",
        description="Curated schema.pbtxt, relative to the configuration file: what values may be. Types and lengths "
        "follow from the configuration (docs/data-formats.md).",
    )
    data: DataConfig
    task: TaskConfig
    splits: SplitsConfig = Field(default_factory=EntitySplitConfig)
    model: ModelConfig = Field(default_factory=lambda: ModelConfig())
    training: TrainingConfig = Field(default_factory=lambda: TrainingConfig())
    tuner: TunerConfig = Field(default_factory=lambda: TunerConfig())
    evaluation: EvaluationConfig = Field(default_factory=lambda: EvaluationConfig())
    serving: ServingConfig = Field(default_factory=lambda: ServingConfig())
    beam: BeamConfig = Field(
        default_factory=lambda: InProcessBeam(), description="Runner of the Beam steps; by default this machine."
    )
    metadata: MetadataConfig = Field(default_factory=lambda: MetadataConfig())
    kubeflow: KubeflowConfig = Field(default_factory=lambda: KubeflowConfig())
    retraining: RetrainingConfig = Field(default_factory=lambda: RetrainingConfig())
    report: ReportConfig = Field(default_factory=lambda: ReportConfig())
    score: ScoreConfig | None = Field(
        default=None, description="Scoring of new spans by the published model; null: there is none."
    )
    tracking: TrackingConfig = Field(default_factory=lambda: TrackingConfig())

    @model_validator(mode="after")
    def _parts_agree(self) -> PipelineConfig:
        dataset, _ = self.dataset, self.trainer
        if self.training.early_stopping is not None and not dataset.has_eval_split:
            raise ValueError(
                "training.early_stopping needs an eval split: set splits.eval (or eval_from_train) above 0, or "
                "training.early_stopping: null, to train all epochs"
            )
        return self

    @property
    def dataset(self) -> DatasetConfig:
        """The part that ingestion, Transform and serving read."""
        return DatasetConfig(data=self.data, task=self.task, splits=self.splits, seed=self.seed)

    @property
    def trainer(self) -> TrainerConfig:
        """The part that the module file reads."""
        return TrainerConfig(model=self.model, training=self.training, tuner=self.tuner, seed=self.seed)

    @property
    def weighs_classes(self) -> bool:
        """Whether a classification is trained, or answers, for rare classes at the cost of accuracy."""
        training = self.training
        is_focal = isinstance(training.loss, FocalLossConfig)
        is_weighted = training.class_weights is not None or training.sampling == "balanced"
        if isinstance(self.task, MultiLabelConfig):  # which is measured by its probabilities, whatever the thresholds
            return is_focal or is_weighted
        if not isinstance(self.task, ClassificationConfig):
            return False
        return is_focal or is_weighted or self.task.threshold is not None

    @property
    def measured(self) -> EvaluationConfig:
        """`evaluation`, with balanced_accuracy in place of `auto` where the training weighs classes."""
        evaluation = self.evaluation
        if not self.weighs_classes:
            return evaluation
        changed: dict[str, Any] = {}
        if evaluation.baseline_metric == "auto":
            changed["baseline_metric"] = "balanced_accuracy"
        if evaluation.compare is not None and evaluation.compare.metric == "auto":
            changed["compare"] = evaluation.compare.model_copy(update={"metric": "balanced_accuracy"})
        return evaluation.model_copy(update=changed)

    def _repr_html_(self) -> str:
        """Return what a notebook shows: what is read, predicted, split and trained, a row for each."""
        task, model, training = self.task, self.model, self.training
        label = task.label if isinstance(task, ClassificationConfig) else ", ".join(targets_of(task))
        predicted = f"{task.kind} of {label}"
        if isinstance(task, ForecastingConfig):
            predicted += f", from {task.input_length} steps to {task.max_horizon} ahead"
        layers = ", ".join(f"{layer.units} units (stddev {layer.stddev:g})" for layer in model.layers)
        files = self.data.files if isinstance(self.data.files, list) else list(self.data.files or {})
        rows: list[tuple[str, str]] = [
            ("files", ", ".join(map(str, files))),
            ("features", ", ".join(feature.name for feature in self.data.features)),
            ("task", predicted),
            ("splits", f"by {self.splits.by}"),
            ("layers", layers),
            ("training", f"{training.epochs} epochs, batches of {training.batch_size}, seed {self.seed}"),
        ]
        return f"<div>{html_heading(self.name)}{html_table(['', ''], rows)}</div>"

    @property
    def model_name(self) -> str:
        """Name of the model, and of its folder under serving/."""
        return self.serving.model_name or self.name
