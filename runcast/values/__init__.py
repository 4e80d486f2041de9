"""What can be logged: numbers, steps, names, params and, in `media`, everything that is not a number.

Tensors and arrays are recognized by their methods, so nothing is imported for them. Start reading at `numbers.py`,
then `config.py`.
"""
