"""Trained stages as SavedModels and TF Hub modules."""
