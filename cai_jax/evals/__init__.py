"""Statistics of metrics: intervals, calibration, and verdicts on replies."""
