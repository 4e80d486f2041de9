"""The settings of a training, their sources, and their names in transformers."""
