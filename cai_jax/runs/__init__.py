"""Running a plan: the node cache, checkpoints, leases, progress, run folders, and what is read back from them."""
