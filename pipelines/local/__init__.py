"""What the local runner adds to TFX: one run at a time, housekeeping, publishing, the terminal."""
