"""The processes, or threads, in which deliveries run: started, woken, hurried, watched and ended.

Start reading at `carriers.py`, then `children.py`; `runcast sync` starts its deliveries in `once.py`.
"""
