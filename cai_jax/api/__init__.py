"""The Python interface: stages called at once, and models taken in hand."""
