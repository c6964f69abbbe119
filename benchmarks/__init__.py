"""Reproducible measurements: speed, memory and small trainings."""
