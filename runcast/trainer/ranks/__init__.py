"""The processes of one job: their decisions, their collectives, and how they share a model."""
