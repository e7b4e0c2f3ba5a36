"""Cell values: parsing of numbers and times, normalized text, float32 precision."""
