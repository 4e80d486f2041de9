"""The methods of a Trainer: those that a subclass may override, those that scripts call, those that are refused."""
