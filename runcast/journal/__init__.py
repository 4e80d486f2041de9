"""A run on disk: its records, its journal, its folder, the state of its deliveries and its seal.

Start reading at `records.py`, then `file.py`.
"""
