"""What a training script holds: `init`, the `Run`, its options, ranks, identity and status.

Start reading at `init.py`, then `run.py`.
"""
