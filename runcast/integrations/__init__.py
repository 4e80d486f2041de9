"""The trackers: one place for each, one row for each in `table.py`, one contract for all in `contract.py`.

Each place imports its one SDK, and only `loading.py` imports the places. Start reading at `contract.py`, then
`tensorboard.py`.
"""
