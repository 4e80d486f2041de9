"""A run in what torch.compile compiles: the values are right, and the graph is broken at the call of `log` alone."""

from pathlib import Path
from typing import Any

import pytest

import runcast
from runcast.journal.records import Metrics
from tests.journals import records

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("by", ["module", "run"])
def test_a_compiled_model_may_log(by: str, tmp_path: Path) -> None:
    """Each call logs the value of that call; Dynamo warns of nothing, and compiles the model only."""
    counters = pytest.importorskip("torch._dynamo.utils").counters
    torch._dynamo.reset()
    counters.clear()
    with runcast.init(dir=tmp_path, report_to="none") as run:
        log = run.log if by == "run" else runcast.log

        def forward(x: Any) -> Any:
            y = x * 2
            log({"mean": y.mean(), "rows": len(x)})
            return (y + 1).sum()

        compiled = torch.compile(forward, backend="eager")
        results = [float(compiled(torch.tensor([1.0, value]))) for value in (3.0, 5.0, 7.0)]

    assert results == [10.0, 14.0, 18.0]
    logged = [(record.step, record.values) for record in records(run, Metrics)]
    assert logged == [(step, {"mean": mean, "rows": 2}) for step, mean in enumerate([4.0, 6.0, 8.0])]
    assert sum(counters["graph_break"].values()) == 1
    assert counters["stats"]["unique_graphs"] == 2  # before and behind the call
