"""The sides that are compared. Each does a work (tests/benchmarks/works.py) in its own way, in a process of its own (worker.py)."""
