"""From rows to sequences, in training and in requests alike: reading, values, quarantine, windows, splits. No Beam."""
