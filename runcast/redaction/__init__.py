"""What counts as a secret, what only looks like one, and how secrets are removed.

Start reading at `tree.py`; `names.py` judges names, `code.py` commands and source code.
Everything printed passes through here too (`console.py`).
"""
