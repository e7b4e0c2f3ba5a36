"""Compare a model with the published one by their losses on the reference sequences.

>>> verdict = compare(new, old, names, dataset, reference)  # doctest: +SKIP
>>> verdict.accepted, verdict.text  # doctest: +SKIP
(False, 'accuracy is 0.1 on 400 sequences of evaluation.reference, 0.85 worse (at most 0.88) than the 0.95 of …')
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from noisy_gru.components.evaluation.config import ReferenceConfig
from noisy_gru.components.evaluation.paired_bootstrap import MIN_CLUSTERS, Bootstrap, is_accepted, paired_bootstrap
from noisy_gru.components.evaluation.sequence_clusters import PLURALS, clusters_of
from noisy_gru.components.reference_gate.verdict import ReferenceVerdict
from noisy_gru.schema.config import ClassificationConfig, DatasetConfig, MultiLabelConfig


def compare(
    new: np.ndarray,
    published: np.ndarray | None,
    names: Sequence[str],
    dataset: DatasetConfig,
    reference: ReferenceConfig,
    against: str = "the published model",
) -> ReferenceVerdict:
    """Return the verdict.

    Args:
        new: losses of the new model [N], see ``sequence_losses``.
        published: of the published model on the same sequences [N]; None: there is none.
        names: of the sequences.
        dataset: the configuration.
        reference: margin and confidence.
        against: what to call the published model.
    """
    is_class = isinstance(dataset.task, ClassificationConfig | MultiLabelConfig)
    grouped = clusters_of(names, dataset)
    clusters = grouped.codes
    metric, of_new = ("accuracy", 1 - float(new.mean())) if is_class else ("mae", float(new.mean()))
    count = f"{len(new):,} sequences of evaluation.reference"
    known = {"metric": metric, "new": of_new, "margin": reference.margin, "sequences": len(new)}
    known["clusters"] = len(np.unique(clusters))
    if published is None:
        text = f"{metric} is {of_new:.4g} on {count}; there is no published model to compare with"
        return ReferenceVerdict(accepted=True, text=text, **known)
    of_published = 1 - float(published.mean()) if is_class else float(published.mean())
    # Errors are compared as parts of the published model's: a margin then needs no unit.
    unit = 1.0 if is_class else (of_published or 1.0)
    found = paired_bootstrap(
        -new / unit,
        -published / unit,
        clusters,
        Bootstrap(confidence=reference.confidence, seed=dataset.seed),
        ties_possible=is_class,
    )
    accepted = is_accepted(found, "not_worse", reference.margin)
    fall = -found.difference + 0.0
    way = f"{abs(fall):.3g} {'worse' if fall > 0 else 'better'} than" if fall else "as good as"
    text = f"{metric} is {of_new:.4g} on {count}, {way} the {of_published:.4g} of {against}"
    if known["clusters"] < MIN_CLUSTERS:
        unit = "independent sequences" if known["clusters"] == len(new) else f"independent {PLURALS[grouped.unit]}"
        text += f"; {known['clusters']} {unit} are too few to tell, at least {MIN_CLUSTERS} are needed"
    else:
        text += f"; at {reference.confidence:.0%} it is at most {max(-found.lower, 0.0):.3g} worse"
        text += f", {reference.margin:g} is allowed" + (
            "" if is_class else " (as parts of the published model's error)"
        )
    return ReferenceVerdict(accepted=accepted, text=text, published=of_published, fall=fall, most=-found.lower, **known)
