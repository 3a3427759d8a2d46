"""Numbers that say how good a model is; each a small class that says what it needs."""
