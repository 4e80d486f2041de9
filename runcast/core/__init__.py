"""The thin core: a run, its journal, and what may go into it.

Imports neither torch nor any tracker, and no other folder of runcast (except `init.py`, where the parts are put
together, when called). Start reading at `run.py`, then `journal.py`.
"""
