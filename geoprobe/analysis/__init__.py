"""From probe tables to statements: summaries, intervals, differences, tiers."""
