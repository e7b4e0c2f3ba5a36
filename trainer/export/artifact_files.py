"""Names of what a model artifact holds, for those who read it without TensorFlow."""

SERVING_FOLDER = "Format-Serving"
KERAS_FOLDER = "Format-Keras"
# In there: the model, the configuration it was trained with, what Transform had fitted, and the word on its base model.
MODEL_FILE = "model.keras"
SETTINGS_FILE = "settings.json"
TRANSFORM_FILE = "transform.json"
WARM_START_FILE = "warm_start.json"
# In the artifact itself, if it was chosen to start from: `version`, `fingerprint` (null: there is none) and `note`.
BASE_FILE = "base.json"
