"""What a training has lost and worked through."""
