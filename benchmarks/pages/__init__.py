"""Writes the pages of results in `docs/results/`."""
