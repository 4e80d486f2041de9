"""What is a secret, what only looks like one, and how both are written.

Start reading at `tree.py`; `names.py` judges names, `code.py` commands and source code.
Everything printed passes through here too (`console.py`).
"""
