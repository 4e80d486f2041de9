"""The optimizer and the learning-rate schedule, named by the arguments or brought by the user."""
