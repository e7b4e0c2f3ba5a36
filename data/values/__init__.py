"""Values of cells: numbers, times, canonical text, precision, and the sample that drift is measured against."""
