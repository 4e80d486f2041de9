"""The commands and the environment of processes that run our modules."""

import contextlib
import os
import site
from pathlib import Path

from runcast.journal.paths import absolute, interpreter, private_temporary_folder

OF_THE_SCRIPT = frozenset(
    f"PYTHON{name}" for name in ("OPTIMIZE", "WARNINGS", "INSPECT", "DEVMODE", "VERBOSE", "PROFILEIMPORTTIME")
)


# The working directory may hold modules named like ours or an SDK's; the path comes with the orders. Python 3.10 has
# no -P, so this does the same for every version.
_BEGIN = "import sys; sys.path[:1] = []; import runpy; runpy.run_module(sys.argv.pop(1), None, '__main__', True)"


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of ours without importing from the working directory.

    Raises:
        OSError: There is no interpreter to run it.
    """
    python = interpreter()
    if python is None:
        raise OSError("this program has no Python interpreter of its own; delivery='thread' needs none")
    return [python, "-c", _BEGIN, module, *arguments]


def where_to_start(directory: Path) -> Path | None:
    """Return the working directory for a process of ours: None for this one's, the run's folder if that was deleted.

    Python 3.13.0 cannot import `socket` in a deleted one.
    """
    try:
        os.getcwd()
    except OSError:
        return absolute(directory)
    return None


def child_environment() -> dict[str, str]:
    """Return the environment of a process that runs our modules.

    It lets a fresh interpreter find this runcast, and lacks the variables that change how Python treats the training
    script's code, because an SDK may not work under them. SDKs write files in the locale's encoding, which cannot
    hold every key on a cluster whose locale is Latin-1 or POSIX, so there it is UTF-8.
    """
    environment = {name: value for name, value in os.environ.items() if name not in OF_THE_SCRIPT}
    environment["PYTHONUTF8"] = "1"
    if os.path.expanduser("~") == "~":  # a container's random user without HOME: SDKs need some home
        with contextlib.suppress(OSError):
            environment["HOME"] = str(private_temporary_folder())
    root = str(Path(__file__).resolve().parents[3])
    if root not in (*site.getsitepackages(), site.getusersitepackages()):
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    return environment
