"""Data, from a dataset to batches on the device: loading, order, streams, and outputs as arrays."""
