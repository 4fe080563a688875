"""The stages that measure, one file each, and their common parts."""
