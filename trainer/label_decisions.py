"""The threshold of each of several labels (`task.labels`), chosen on the eval split.

>>> str(decide_labels(task, scores, truth))  # doctest: +SKIP
'fever is answered from a probability of 0.31: precision 0.8, recall 0.9 on 200 sequences of eval, 20 of them positive'
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import numpy as np

from noisy_gru.schema.errors import DataError
from noisy_gru.schema.task_config import MultiLabelConfig, ThresholdTarget
from noisy_gru.trainer.decision import Decision, choose_threshold

_FORMAT = 1
HALF = 0.5  # the threshold of a label without one


@dataclass(frozen=True)
class LabelDecisions:
    """How a model of several labels answers: each from its own threshold on.

    Attributes:
        labels: a decision for each, in the order of `task.labels`; ``positive`` is the label.
    """

    labels: list[Decision]

    @property
    def thresholds(self) -> np.ndarray:
        """The threshold of each label, float32 [K]."""
        return np.array([each.threshold for each in self.labels], np.float32)

    def to_json(self) -> str:
        """Return the content of `decision.json`."""
        return json.dumps({"format": _FORMAT, **asdict(self)}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> LabelDecisions:
        """Parse what `to_json` returned.

        Raises:
            ValueError: another version of the package wrote it.
        """
        content = json.loads(text)
        if content["format"] != _FORMAT:
            raise ValueError(f"expected the format {_FORMAT} of a decision, received {content['format']}")
        return cls([Decision(**each) for each in content["labels"]])

    def __str__(self) -> str:
        return "; ".join(map(str, self.labels))

    @property
    def shortfall(self) -> str:
        """Why targets were not reached, with what to do; empty if all were."""
        return "; ".join(f"{each.positive}: {each.shortfall}" for each in self.labels if each.shortfall)


def decision_of(text: str) -> Decision | LabelDecisions:
    """Parse `decision.json`, of a class or of several labels.

    Raises:
        ValueError: another version of the package wrote it.
    """
    return LabelDecisions.from_json(text) if "labels" in json.loads(text) else Decision.from_json(text)


def thresholds_of(decisions: LabelDecisions | None, labels: int) -> np.ndarray:
    """Return the threshold of each label, float32 [K]; 0.5 without decisions."""
    return np.full(labels, HALF, np.float32) if decisions is None else decisions.thresholds


def check_label_truth(task: MultiLabelConfig, truth: np.ndarray) -> None:
    """Check that each threshold that is chosen on eval can be.

    Args:
        task: with thresholds.
        truth: float [N, K], eval's labels, NaN where unknown.

    Raises:
        DataError: eval has no sequence with a label, or none without it.
    """
    for place, label in enumerate(task.labels):
        if not isinstance(task.threshold_of(label), ThresholdTarget):
            continue
        for value, what in ((1, "with"), (0, "without")):
            if not (truth[:, place] == value).any():
                raise DataError(
                    f"the threshold of {label} is chosen on the eval split, which has no sequence {what} it. Enlarge "
                    f"splits.eval (or eval_from_train), or set a number, as task.thresholds: {{{label}: 0.5}}."
                )


def decide_labels(task: MultiLabelConfig, scores: np.ndarray, truth: np.ndarray) -> LabelDecisions:
    """Return how a model answers each label, its threshold chosen on eval unless it is configured as a number.

    Args:
        task: with thresholds.
        scores: float32 [N, K], probabilities of eval's sequences.
        truth: float [N, K], their labels, NaN where unknown.

    Raises:
        DataError: as `check_label_truth`.
    """
    check_label_truth(task, truth)
    found = []
    for place, label in enumerate(task.labels):
        known = ~np.isnan(truth[:, place])
        own, is_positive = scores[known, place], truth[known, place] > 0
        given, target = task.threshold_of(label), None
        if isinstance(given, ThresholdTarget):
            threshold, reached = choose_threshold(own, is_positive, given)
            target = given.model_dump(exclude_none=True)
        else:
            threshold, reached = float(np.float32(HALF if given is None else given)), True
        answered = own >= np.float32(threshold)
        hits, positives = int((answered & is_positive).sum()), int(is_positive.sum())
        found.append(
            Decision(
                positive=label,
                positive_id=1,
                threshold=threshold,
                target=target,
                reached=reached,
                sequences=int(known.sum()),
                positives=positives,
                precision=hits / int(answered.sum()) if answered.any() else None,
                recall=hits / positives if positives else None,
            )
        )
    return LabelDecisions(found)
