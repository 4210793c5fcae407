"""The controlled experiment: one architecture, one set of tiles, one budget; only the objective differs."""
