"""What may be logged: numbers, steps, names, params and, in `media`, everything that is not a number.

Tensors and arrays are recognized by what they can do, so nothing is imported for them. Start reading at `numbers.py`,
then `config.py`.
"""
