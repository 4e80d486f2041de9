"""What a training script holds: `init`, the `Run`, its options, ranks, identity and status.

May import everything up to `runcast.delivery`. Start reading at `init.py`, then `run.py`.
"""
