"""The metrics themselves: arrays in, numbers out."""
