"""Running a plan: the node cache, checkpoints, leases, progress, run folders, and reading them back."""
