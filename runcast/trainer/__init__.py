"""The reference GPU trainer: a loop that fits on one screen, with every event visible.

The one room that imports torch. Start reading at `loop.py`, then `trainer.py`; the events are described in
`runcast/core/events.py`.
"""
