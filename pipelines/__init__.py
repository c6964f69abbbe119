"""vim_tf as a TFX pipeline: the only place that imports TFX."""
