"""What metrics are made of: intervals, and verdicts on replies."""
