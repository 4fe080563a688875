"""Losses, optimisers and the jitted steps: pure `(state, batch) -> (state, metrics)`, no I/O."""
