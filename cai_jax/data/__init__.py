"""Datasets in: files, columns, rows and packing."""
