"""The served model: signatures, loops made for serving, SavedModel, Keras file, ONNX."""
