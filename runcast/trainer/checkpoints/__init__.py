"""Checkpoints: what is in them, how they are written and found, and which one is best."""
