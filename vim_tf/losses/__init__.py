"""Loss terms: unweighted, float32, means over their elements."""
