"""Runs after the fact, as functions: their status and contents, verification, and later delivery.

Start reading at `overview.py`, then `sync.py`; `views/` is what people look at.
"""
