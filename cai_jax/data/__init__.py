"""Datasets in: rows, sources, packing; and text as a model reads it: rendered prompts and their formats."""
