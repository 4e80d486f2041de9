"""The processes and threads of deliveries: starting, waking, prioritizing, watching and ending them.

Start reading at `carriers.py`, then `children.py`; `runcast sync` starts its deliveries in `once.py`.
"""
