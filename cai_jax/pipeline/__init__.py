"""What stages do when they run: generation, critique and revision, AI feedback, training loops. One file an idea."""
