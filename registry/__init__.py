"""Published versions of a model: their records, labels, rollout and history, and the retrainings that made them."""
