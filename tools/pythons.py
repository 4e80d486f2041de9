"""Run the tests that need no framework with each other Python that is found here: `python tools/pythons.py .venv`.

The oldest one gets the oldest dependencies that pyproject.toml allows, with which it runs the rooms that neither an SDK
nor the layout of a table has to do with; the others get the newest, and every SDK.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib

VERSIONS = OLDEST, *_ = "3.10", "3.12", "3.13"
INNER = ("core", "journal", "redaction", "run", "values")
ROOMS = (*INNER, "autodetect", "cli", "delivery", "history")
TOOLS = ("docstring-parser", "hypothesis", "numpy", "pytest", "pytest-randomly", "pytest-timeout", "pytest-xdist")
MARKS = "not slow and not matrix and not trackers and not azure and not gpu"


def main() -> int:
    """Run them; return 1 if a test failed, or if none of the Pythons is here."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    oldest = [*(re.sub(r">=(\S+)", r"==\1.*", each) for each in project["dependencies"]), "click==8.1.*"]
    codes = []
    for version in VERSIONS:
        folder = Path(sys.argv[1], f"python{version}")
        python = folder / "bin" / "python"
        if not python.exists() and not any(made(folder, each) for each in interpreters(version)):
            sys.stdout.write(f"Python {version} is not here\n")
            continue
        is_oldest = version == OLDEST
        pins, extras = (oldest, "tensorboard") if is_oldest else ([], "all,html")
        install = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        subprocess.check_call([*install, "--editable", f".[{extras}]", *TOOLS, *pins])
        sys.stdout.write(f"Python {version}, {', '.join(pins) or 'the newest dependencies'}\n")
        sys.stdout.flush()
        tests = [f"tests/{room}" for room in (INNER if is_oldest else ROOMS)]
        warnings = ["-o", "filterwarnings=default"] if is_oldest else []  # old ones warn of each other
        codes.append(subprocess.call([str(python), "-m", "pytest", "-q", "-n", "3", "-m", MARKS, *warnings, *tests]))
    return int(not codes or any(codes))


def interpreters(version: str) -> list[str]:
    """Find the interpreters of a version: on the path, and of pyenv, whose command works for the chosen ones only."""
    found = shutil.which(f"python{version}")
    return [*([found] if found else []), *map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))]


def made(folder: Path, interpreter: str) -> bool:
    """Make an environment; return whether that worked."""
    return subprocess.run([interpreter, "-m", "venv", str(folder)], capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
