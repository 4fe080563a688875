"""Shared parts of the commands: options, output, streams, exit codes, and a run from its plan to its verdicts."""
