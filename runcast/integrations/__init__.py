"""The trackers: one module each, one row each in `table.py`, one contract in `contract.py`.

May import `runcast.core` and, in each module, that one SDK. Nothing but `load_tracker` imports those modules.
Start reading at `contract.py`, then `tensorboard.py` (the shortest).
"""
