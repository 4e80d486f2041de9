"""Carrying a journal's records to one tracker: the loop, sending, recovery, and the processes in which that happens.

One loop (`loop.py`) runs in a process of its own (`__main__.py`, started by `process.py`) or in a thread (`thread.py`).
Start reading at `loop.py`, then `sending.py`.
"""
