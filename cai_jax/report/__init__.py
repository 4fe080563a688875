"""Output for people: results, verdicts, tables, and the reason why a node would run again."""
