"""The pages of results in `docs/results/`."""
