"""What may be logged: numbers, steps, names, params and, in `media`, everything that is not a number.

tensors and arrays are recognized by what they can do. Start reading
at `numbers.py`, then `config.py`.
"""
