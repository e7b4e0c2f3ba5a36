"""SavedModels without TensorFlow's Python package: TF Serving's loader through the C API, and protocol buffers."""
