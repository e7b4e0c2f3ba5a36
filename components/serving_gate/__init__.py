"""Load an exported model as TF Serving does, in a clean process, and bless it or report why not."""
