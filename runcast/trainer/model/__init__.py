"""A model on its device: where it computes, how it is called on a batch, how it is exported."""
