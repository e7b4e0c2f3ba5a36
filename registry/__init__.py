"""Published versions of a model: which there are, what they carry, how they are replaced, and what is trained next."""
