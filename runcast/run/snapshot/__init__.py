"""The snapshot of what a run was made with: its commit, the changes since, the packages and the hardware.

`checkout.py` reads the commit and `hardware.py` the hardware within `init`, without another program. The diff and the
packages take time: a thread collects them (`collection.py`). `differences.py` asks Git, `packages.py` lists them.
"""
