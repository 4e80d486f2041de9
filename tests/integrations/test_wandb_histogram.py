"""A histogram of more bins than W&B takes keeps every count."""

import pytest

pytest.importorskip("wandb")


def test_neighbouring_bins_are_merged() -> None:
    """1,025 bins become 342 of three, the last of two; each count stays between its edges."""
    from runcast.integrations.wandb.media import merged

    counts, edges = merged(list(range(1025)), [float(edge) for edge in range(1026)])

    assert (len(counts), len(edges)) == (342, 343)
    assert sum(counts) == 524800
    assert counts[:2] == [3, 12]
    assert counts[-1] == 2047
    assert edges[:2] == [0.0, 3.0]
    assert edges[-2:] == [1023.0, 1025.0]


def test_few_bins_stay_as_they_are() -> None:
    """512 bins are what W&B takes."""
    from runcast.integrations.wandb.media import merged

    assert merged([1] * 512, list(range(513))) == ([1] * 512, list(range(513)))
