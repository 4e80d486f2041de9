"""Delivery of a journal's records to one tracker: the loop, sending, recovery, and the processes for it.

One loop (`loop.py`) runs in a process of its own (`__main__.py`) or in a thread; `courier` starts both.
Start reading at `loop.py`, then `sending.py`.
"""
