"""Positions of a row that are unembedded at a time, in supervised training and in PPO. Imports no JAX."""

# Logits [rows, chunk, vocabulary] in float32 would be the largest array of a step: those of 128 positions over 128k
# tokens are 64 MiB a row. PPO, which takes entropies as well, unembeds half as many.
SFT = 128
PPO = 64
