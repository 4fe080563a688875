"""How many positions of a row are unembedded at a time, in supervised training and in PPO. Imports no JAX."""

SFT = 128
PPO = 64
