"""A script in a warm process is what it is in a fresh one."""

import os
import subprocess
from pathlib import Path

import pytest

from tests import warm

LIGHT = warm.Warm(("colorsys",))
BESIDE = warm.Warm(("stringprep",), LIGHT)
ENDS = {
    "pass": 0,
    "sys.exit(3)": 3,
    "1 / 0": 1,
    "os.kill(os.getpid(), 9)": -9,
    "atexit.register(print, 'at the end')": 0,
}


def run(code: str, folder: Path, *arguments: str, imported: warm.Warm = LIGHT, **options: object):  # type: ignore[no-untyped-def]
    """Run a script with one variable and two arguments."""
    script = folder / "script.py"
    script.write_text(f"import atexit, os, sys\n{code}\n")
    environment = {"PATH": os.environ["PATH"], "OWN": "value"}
    settings = {"folder": folder, "environment": environment, "timeout_s": 60.0} | options
    return warm.run(imported, [script, *arguments], **settings)


def test_a_script_has_its_own_arguments_variables_folder_and_input(tmp_path: Path) -> None:
    """Nothing of the process that forked it is seen but the modules."""
    code = "print(__name__, __file__, sys.argv, os.getcwd(), os.environ['OWN'], 'HOME' in os.environ, sys.path[0])"
    code += "\nprint(sys.stdin.read(), 'colorsys' in sys.modules, 'runcast' in sys.modules)"

    done = run(code, tmp_path, "a", "b", given="typed")

    script = str(tmp_path / "script.py")
    assert done.stdout.splitlines() == [
        f"__main__ {script} {[script, 'a', 'b']} {tmp_path} value False {tmp_path}",
        "typed True False",
    ]


@pytest.mark.parametrize(("code", "status"), ENDS.items())
def test_a_script_ends_as_it_would(tmp_path: Path, code: str, status: int) -> None:
    """With its exit status, its traceback, and what it left for the end of the interpreter."""
    done = run(code, tmp_path)

    assert done.returncode == status
    assert done.stdout == ("at the end\n" if "atexit" in code else "")
    assert ("ZeroDivisionError" in done.stderr) == (code == "1 / 0")


def test_modules_beside_those_of_another_are_there_too(tmp_path: Path) -> None:
    """A process with more modules is forked from the one with fewer, in which they are not seen."""
    code = "print('colorsys' in sys.modules, 'stringprep' in sys.modules)"

    assert run(code, tmp_path, imported=BESIDE).stdout == "True True\n"
    assert run(code, tmp_path).stdout == "True False\n"


def test_a_script_that_hangs_is_ended(tmp_path: Path) -> None:
    """Its time is limited, and the next script is not affected."""
    with pytest.raises(subprocess.TimeoutExpired):
        run("import threading; threading.Event().wait()", tmp_path, timeout_s=0.5)

    assert run("print('next')", tmp_path).stdout == "next\n"
