"""TFX's steps that read examples, for which windows are cut from the series that ingestion stores."""
