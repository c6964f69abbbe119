"""The processes of comparisons, one for each side."""
