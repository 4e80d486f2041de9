"""The reference GPU trainer, the one room that imports torch.

Start reading at `loop.py`: forward, backward, clip, step, schedule and zero_grad, with every event at its place. The
`Engine` computes, a `Training` holds the parts of one training, and `trainer.py` puts them together. No part knows the
Trainer. The events are described in `runcast/core/events.py`.
"""
