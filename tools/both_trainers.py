"""Run the scripts in `examples/scripts` under both trainers, and write a table of their losses into the docs."""

import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
SCRIPTS = ROOT / "examples" / "scripts"
DOCS = ROOT / "docs" / "trainer.md"
BEGIN, END = "<!-- made by tools/both_trainers.py -->\n", "<!-- end of both -->"
COMMON = """
    --do_train --do_eval --num_train_epochs 3 --learning_rate 1e-2 --logging_steps 2
    --eval_strategy steps --eval_steps 4 --save_strategy steps --save_steps 8 --report_to none --use_cpu
    --disable_tqdm True --per_device_train_batch_size 8 --per_device_eval_batch_size 20 --seed 5
"""
# What is special about each; an evaluation is one batch, as transformers averages over batches of unequal size.
OWN = {
    "text_classification": "--do_predict --warmup_steps 2 --lr_scheduler_type cosine",
    "causal_language_model": "--gradient_accumulation_steps 2 --weight_decay 0.1",
    "sequence_to_sequence": (
        "--do_predict --predict_with_generate --generation_max_length 10 --label_smoothing_factor 0.1"
    ),
}
TIMES = ("_runtime", "_per_second", "total_flos")


def run(script: str, library: str, folder: Path) -> tuple[list[dict[str, Any]], list[str], str]:
    """Run a script with one import switched; return its log, the files that it has left, and its last line."""
    text = (SCRIPTS / f"{script}.py").read_text(encoding="utf-8")
    file = folder / f"{script}_{library}.py"
    file.write_text(text.replace("\nfrom runcast import", f"\nfrom {library} import"), encoding="utf-8")
    out = folder / f"{script}_{library}"
    command = [sys.executable, str(file), "--output_dir", str(out), *COMMON.split(), *OWN[script].split()]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{file.name}: {done.stderr[-2000:]}")
    state = json.loads((out / "trainer_state.json").read_text(encoding="utf-8"))
    files = sorted(path.relative_to(out).as_posix() for path in out.glob("*") if path.name != "training_args.bin")
    return state["log_history"], files, done.stdout.strip().splitlines()[-1]


def values(log: list[dict[str, Any]]) -> dict[tuple[int, str], float]:
    """List what a log says of the training, but for the times."""
    found = {(entry["step"], key): value for entry in log for key, value in entry.items() if not key.endswith(TIMES)}
    return {place: value for place, value in found.items() if isinstance(value, int | float)}


def compare(script: str, folder: Path) -> dict[str, Any]:
    """Run a script under both; return what each logged, and whether files and last lines are the same."""
    (theirs, their_files, their_line), (ours, our_files, our_line) = (
        run(script, library, folder) for library in ("transformers", "runcast")
    )
    mine, other = values(ours), values(theirs)
    common = {place: (other[place], mine[place]) for place in other if place in mine and place[1] != "step"}
    losses = {place: pair for place, pair in common.items() if place[1].endswith("loss")}
    return {
        "missing": sorted(set(other) - set(mine)),
        "common": common,
        "losses": losses,
        "order": ([entry["step"] for entry in theirs], [entry["step"] for entry in ours]),
        "same_files": their_files == our_files,
        "same_line": their_line == our_line,
    }


def furthest(pairs: dict[Any, tuple[float, float]]) -> float:
    """Return the greatest relative difference."""
    return max(abs(a - b) / max(abs(a), 1e-12) for a, b in pairs.values() if math.isfinite(a))


def table() -> str:
    """Run everything, and make the table."""
    rows = ["| script | | transformers | runcast |", "|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as folder:
        for script in OWN:
            found = compare(script, Path(folder))
            for (step, name), (theirs, ours) in found["losses"].items():
                if name in ("loss", "eval_loss") and step in (2, 4, 8, 12, 24):
                    rows.append(f"| {script}.py | {name}, step {step} | {theirs:.8f} | {ours:.8f} |")
            rows.append(f"| | furthest loss, relative | | {furthest(found['losses']):.0e} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    page = DOCS.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    DOCS.write_text(before + BEGIN + table() + END + rest.partition(END)[2], encoding="utf-8")
