"""The processes and threads of deliveries: starting, waking, prioritizing, watching and ending them.

Start reading at `carriers.py`, which a training holds, then `courier.py`, the program that it starts. `runcast sync`
starts the same one in `history/delivering.py`.
"""
