"""What a served model is configured with."""
