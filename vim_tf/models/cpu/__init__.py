"""What CPUs compute in their own way: attention with its own gradient, products of a few rows."""
