"""Callbacks: reporting, flow, progress, early stopping, checkpoints and so on.

Each works in our Trainer and in that of transformers; tensors and models are recognized by what they can do. Start
reading at `flow.py`, then `reporting`.
"""
