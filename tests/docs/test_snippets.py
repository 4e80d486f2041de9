"""What the README and the docs show works as shown."""

import os
import re
from pathlib import Path

import pytest

from tests import warm

ROOT = Path(__file__).parents[2]
PAGES = [
    pytest.param(page, marks=[pytest.mark.trackers] if page.stem in ("aim", "flyte") else [])  # their SDKs are needed
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    if "```python" in page.read_text(encoding="utf-8")
]
FRAMEWORKS = {
    "accelerate": warm.ACCELERATE,
    "ignite": warm.IGNITE,
    "keras": warm.KERAS,
    "lightning": warm.LIGHTNING,
    "transformers": warm.TRANSFORMERS,
}
PREPARE = "import runcast\nruncast.init(id='my-run', report_to='none').finish()\n"


def snippets(page: Path) -> list[tuple[str, str]]:
    """List the Python blocks of a page, each with the name of the file that it is shown as, if any."""
    block = r"""^```python(?: title="(.*?)")?\n(.*?)^```"""
    return re.findall(block, page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_snippet_runs(page: Path, tmp_path: Path) -> None:
    """The Python blocks of a page run one after the other, in a folder that holds one run."""
    modules = FRAMEWORKS.get(page.stem, warm.TORCH)
    environment = {**os.environ, "RUNCAST_REPORT_TO": "none", "PYTHONPATH": os.pathsep.join((str(ROOT), str(tmp_path)))}
    for name, code in [("", PREPARE), *snippets(page)]:
        program = tmp_path / (name or "snippet.py")
        program.write_text(code, encoding="utf-8")

        done = warm.run(modules, [program], folder=tmp_path, environment=environment)

        assert done.returncode == 0, f"{code}\n{done.stderr}"


def test_the_tree_in_the_readme_is_the_tree() -> None:
    """Each folder and file that the README's tree names exists, and each folder of the package is named there."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    tree = re.search(r"^## The tree\n\n```\n(.*?)```", text, re.MULTILINE | re.DOTALL)
    assert tree is not None
    named = {line.split()[0].strip("/") for line in tree[1].splitlines()}
    folders = {path.name for path in (ROOT / "runcast").iterdir() if (path / "__init__.py").is_file()}

    assert folders <= named
    assert all((ROOT / name).exists() or (ROOT / "runcast" / name).exists() for name in named)
