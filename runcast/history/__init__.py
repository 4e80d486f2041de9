"""Runs after the fact, as functions: how they stand, what they hold, verifying them, and delivering them later.

May import every room that a run needs. Start reading at `overview.py`, then `sync.py`.
"""
