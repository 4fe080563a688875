"""Sampling, scoring and shared prefixes: pure jitted functions and the host loops that call them. No I/O."""
