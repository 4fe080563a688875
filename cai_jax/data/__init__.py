"""Datasets: files, columns, rows and packing."""
