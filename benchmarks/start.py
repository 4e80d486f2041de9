"""How long until training may begin: the import, and opening the run."""

import subprocess
import sys
import time
from typing import Any

from benchmarks import peers
from benchmarks.harness import environment, interleaved, median_of, run_child
from benchmarks.report import Answer, Budget, Table, duration
from benchmarks.sources import SEVEN

BARE, IMPORT, NEEDS = "bare interpreter", "import runcast", "import runcast and all that init needs"
HEAVY = "import transformers.integrations"
CODE = {
    BARE: "pass",
    IMPORT: "import runcast",
    NEEDS: "import runcast.run.init, runcast.autodetect, runcast.delivery.courier.carriers",
    HEAVY: HEAVY,
}
INIT_SEVEN, INIT_NONE = "runcast.init, seven trackers", "runcast.init, no tracker"
TRANSFORMERS = "transformers, seven trackers"


def measure(quick: bool) -> Answer:
    """Time imports in fresh interpreters, and what happens between them and the first log call or training step."""
    times, often, seldom = (3, 2, 1) if quick else (21, 7, 2)
    light: dict[str, Any] = {name: lambda number, name=name: run_code(CODE[name]) for name in (BARE, IMPORT, NEEDS)}
    opening: dict[str, Any] = {
        INIT_SEVEN: lambda number: run_child("benchmarks.start:open_run", report_to=SEVEN),
        INIT_NONE: lambda number: run_child("benchmarks.start:open_run", report_to=[]),
    }
    heavy: dict[str, Any] = {
        HEAVY: lambda number: run_code(CODE[HEAVY]),
        TRANSFORMERS: lambda number: peers.transformers(number, quick),
    }
    answers: dict[str, list[Any]] = {}
    failures: dict[str, str] = {}
    for subjects, rounds in ((light, times), (opening, often), (heavy, seldom)):
        found, failed = interleaved(subjects, rounds, quiet=subjects is light)
        answers |= found
        failures |= failed

    table = Table("From starting Python to the first step", ("subject", "time", "modules loaded", "rounds"))
    bare_ms, bare_modules = (median_of(answers[BARE], key) for key in ("ms", "modules"))
    over_bare: dict[str, float] = {}
    for name in CODE:
        if answers[name]:
            ms, modules = (median_of(answers[name], key) for key in ("ms", "modules"))
            over_bare[name] = ms - bare_ms
            cells = [duration(ms * 1e3), f"{modules:.0f}"]
            if name != BARE:
                cells = [
                    f"{cells[0]} (+{duration(over_bare[name] * 1e3)})",
                    f"{cells[1]} (+{modules - bare_modules:.0f})",
                ]
            table.rows.append([name, *cells, str(len(answers[name]))])
    for name in opening:
        if answers[name]:
            for key, what in (("init_ms", "until log may be called"), ("first_log_ms", "the first log call")):
                took = duration(median_of(answers[name], key) * 1e3)
                table.rows.append([f"{name}: {what}", took, "", str(len(answers[name]))])
    if theirs := answers[TRANSFORMERS]:
        parts = {
            "from its import to the first step": "first_step_s",
            "of that, import and construction": "import_and_build_s",
            "of that, on_train_begin": "train_begin_s",
        }
        for what, key in parts.items():
            table.rows.append([f"{TRANSFORMERS}: {what}", duration(median_of(theirs, key) * 1e6), "", str(len(theirs))])
    table.rows += [[name, reason, "", ""] for name, reason in failures.items()]

    opened = median_of(answers[INIT_SEVEN], "init_ms") if answers[INIT_SEVEN] else None
    return Answer(
        [table],
        [
            Budget("import runcast, over the bare interpreter", over_bare.get(IMPORT), 10, "ms"),
            Budget("runcast.init with seven trackers, until log may be called", opened, 25, "ms"),
        ],
    )


def run_code(code: str) -> dict[str, float]:
    """Time an interpreter from its start to its end; count its modules in another one."""
    env = environment(peers=True)
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True)
    ms = (time.perf_counter() - began) * 1e3
    count = f"{code}\nimport sys; print(len(sys.modules))"
    counted = subprocess.run([sys.executable, "-c", count], env=env, check=True, capture_output=True)
    return {"ms": ms, "modules": int(counted.stdout.split()[-1])}


def open_run(report_to: list[str]) -> dict[str, float]:
    """In a measuring process: open a run and log once. `init` is timed with the modules that it imports."""
    import runcast

    imported = time.perf_counter()
    run = runcast.init(project="benchmark", report_to=report_to, config={"lr": 0.1, "model": {"width": 64}})
    opened = time.perf_counter()
    run.log({"loss": 0.5}, step=0)
    logged = time.perf_counter()
    return {"init_ms": (opened - imported) * 1e3, "first_log_ms": (logged - opened) * 1e3}
