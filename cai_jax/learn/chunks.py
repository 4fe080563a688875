"""Positions of a row that are unembedded at a time, in supervised training, in PPO and in DPO. Imports no JAX."""

# Logits [rows, chunk, vocabulary] in float32 would be the largest array of a step: those of 128 positions over 128k
# tokens are 64 MiB a row. Half as many unembed PPO, which takes entropies as well, and DPO, whose rows are two replies.
SFT = 128
PPO = 64
DPO = 64
