"""What people are shown: results, verdicts, tables, and why a node would run again."""
