"""Runs after the fact, as functions: how they stand, what they hold, verifying them, and delivering them later.

Start reading at `overview.py`, then `sync.py`.
"""
