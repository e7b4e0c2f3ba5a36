"""What TFX's Evaluator measures on the test split, what it asks for, and how its answer is read."""
