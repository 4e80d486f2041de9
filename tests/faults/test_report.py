"""The page with both tables says of each cell of transformers what stands beside it."""

from faults.cell import Cell
from faults.report import page


def cell(part: str, tracker: str, *, holds: bool, fault: str = "ends", moment: str = "its end", note: str = "") -> Cell:
    """Make a cell in which every promise was kept, or broken."""
    return Cell(
        part=part,
        fault=fault,
        moment=moment,
        tracker=tracker,
        unharmed=holds,
        lost=0 if holds else 7,
        twice=0,
        status_right=holds,
        exit_s=1.0,
        note=note,
    )


def test_a_cell_of_transformers_stands_beside_ours_with_the_same_tracker() -> None:
    """Where the matrix has that cell; else beside the one in which a process delivers."""
    ours = [
        cell("training", "a file", holds=True),
        cell("training", "tensorboard, wandb", holds=True),
        cell("tracker", "a file, thread", holds=True, fault="hangs", moment="setup"),
        cell("tracker", "a file, process", holds=True, fault="hangs", moment="setup"),
    ]
    theirs = [
        cell("transformers", "wandb", holds=False, note="other weights"),
        cell("transformers", "wandb", holds=False, fault="hangs", moment="setup", note="it never ended"),
    ]

    rows = page([*ours, *theirs], total=4).splitlines()

    same = "| ends | its end | tensorboard, wandb | yes | 0 | 0 | yes | 1.0 s | wandb | **NO** | 7 | 0 | **NO** | 1.0 s | other weights |"
    other = "| hangs | setup | a file, process | yes | 0 | 0 | yes | 1.0 s | wandb | **stuck** | 7 | 0 | **NO** | 1.0 s | it never ended |"
    assert same in rows
    assert other in rows


def test_the_totals_count_the_promises_that_were_kept() -> None:
    """By tracker of transformers, and of runcast what stands beside them."""
    ours = [cell("training", "a file", holds=True)]
    theirs = [cell("transformers", "wandb", holds=False), cell("transformers", "dvclive", holds=True)]

    rows = page([*ours, *theirs], total=1).splitlines()

    assert "| transformers, wandb | 1 | 0 of 1 | 0 of 1 | 1 of 1 | 0 of 1 |" in rows
    assert "| transformers, dvclive | 1 | 1 of 1 | 1 of 1 | 1 of 1 | 1 of 1 |" in rows
    assert "| runcast | 1 | 1 of 1 | 1 of 1 | 1 of 1 | 1 of 1 |" in rows
