"""The snapshot of what a run was made with: its commit, the changes since, the packages and the hardware.

`checkout.py` reads the commit within `init`; everything slower is collected by a process of its own, which
`collector.py` starts and `collecting.py` is. `differences.py` asks Git, `environment.py` lists packages and hardware.
"""
