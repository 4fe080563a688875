"""What stages are made of: common parameters, drawing, writing, judging, training loops. One file an idea."""
