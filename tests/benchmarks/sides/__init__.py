"""The sides that are compared, each in a process of its own (worker.py).

Each does a work (tests/benchmarks/works.py) in its own way.
"""
