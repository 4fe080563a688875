"""What a program would take, before it runs: its steps' costs for `plan`, and compiled for `compile`."""
