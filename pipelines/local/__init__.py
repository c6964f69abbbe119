"""Additions of the local runner to TFX: one run at a time, housekeeping, publishing, the terminal."""
