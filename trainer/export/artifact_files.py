"""File names in a model artifact, for code without TensorFlow."""

SERVING_FOLDER = "Format-Serving"
KERAS_FOLDER = "Format-Keras"
# In the Keras folder: the model, its custom_config, Transform's scales and vocabularies, the threshold of two classes
# (with `task.threshold`), the calibration of quantiles and intervals, the errors on eval for p-values, and the use of a
# base model.
MODEL_FILE = "model.keras"
SETTINGS_FILE = "settings.json"
TRANSFORM_FILE = "transform.json"
DECISION_FILE = "decision.json"
CALIBRATION_FILE = "calibration.json"
SCORES_FILE = "conformal_scores.json"
WARM_START_FILE = "warm_start.json"
# In the artifact of a base model: `version`, `fingerprint` (null if unknown) and `note`.
BASE_FILE = "base.json"
