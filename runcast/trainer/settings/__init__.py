"""What a training is told: the settings, where they are read from, and what transformers calls them."""
