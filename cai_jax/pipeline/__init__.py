"""Computations of stages at run time: generation, critique and revision, AI feedback, training. One file an idea."""
