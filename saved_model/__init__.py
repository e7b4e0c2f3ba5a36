"""SavedModels without TensorFlow's Python: the loader that TF Serving has, its protocol buffers, its C API."""
