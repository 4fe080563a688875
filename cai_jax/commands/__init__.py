"""The commands of `cai-jax`, one file each, and what only they share."""
