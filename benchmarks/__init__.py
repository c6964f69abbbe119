"""Measurements that a reader can repeat: speed, memory and small trainings."""
