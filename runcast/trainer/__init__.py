"""The reference GPU trainer: a loop that fits on one screen, with every event visible.

Imports `runcast.core`, `runcast.callbacks` and torch. Start reading at `loop.py`, then `trainer.py`; the events are
told in `runcast/core/events.py`.
"""
