"""Sampling, scoring and shared prefixes: pure jitted functions and the host loops that feed them. No I/O."""
