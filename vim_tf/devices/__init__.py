"""Where a computation runs: strategies, precision and memory."""
