"""Components that TFX doesn't have; each wraps library calls."""
