"""The built-in world: a small generated English in which the whole method can be checked exactly."""
