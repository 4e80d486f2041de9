"""Carrying a journal's records to one tracker: the loop, the places where it runs, retry, cursor, supervision.

May import `runcast.core` and `runcast.integrations`. One loop (`loop.py`) runs in a process of its own (`__main__.py`,
started by `process.py`), in a thread (`thread.py`) or later (`sync.py`). Start reading at `loop.py`.
"""
