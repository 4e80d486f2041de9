"""The thin callback core: the events of a training, the callback handler and the errors.

Imports nothing of ours. Start reading at `events.py`, then `handler.py`.
"""
