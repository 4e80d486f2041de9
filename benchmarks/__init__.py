"""Measures the budgets of docs/design.md, with the peers in the same run: `python -m benchmarks`.

One module per question (`log`, `start`, `step`, `trainers`, `delivery`, `memory`), each with `measure(quick)`, which
returns tables and budgets; `gpu.py` has a command of its own. Every figure comes from a process of its own (`child.py`), so that no import and no thread of one subject
touches another. Start reading at `harness.py`; what is compared is in `sources.py`.
"""
