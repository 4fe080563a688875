"""The stages that measure. One file each, beside what they share."""
