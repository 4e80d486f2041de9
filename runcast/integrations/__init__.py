"""The trackers: one place for each, one row for each in `table.py`, one contract for all in `contract.py`.

Each place imports its one SDK, and only `loading.py` imports the places. In every place the Tracker is the package
itself, `sdk.py` is what is peculiar to its SDK, and `reader.py` reads a run back. Start reading at `contract.py`, then
`dvclive`.
"""
