"""Write `runcast/__init__.pyi`, for type checkers and editors, from the table of public names."""

from pathlib import Path

import runcast

STUB = Path(runcast.__file__).with_suffix(".pyi")


def stub() -> str:
    """Return the text of the stub."""
    rooms = [f"from runcast import {room} as {room}" for room in runcast._ROOMS]
    names = [
        f"from runcast.{module} import {name} as {name}"
        for module, names in sorted(runcast._PUBLIC.items())
        for name in sorted(names.split())
    ]
    current = [f"{name}: {kind.rpartition('.')[2]}" for name, kind in runcast._CURRENT.items()]
    kinds = {kind.removesuffix(" | None").rpartition(".") for kind in runcast._CURRENT.values()}
    others = [f"from runcast.{module} import {name}" for module, _, name in sorted(kinds) if name not in runcast._HOMES]
    return "\n".join(
        [
            "# Made by `make format` from the table in __init__.py.",
            *rooms,
            *names,
            *others,
            "",
            "__version__: str",
            *current,
            "",
        ]
    )


if __name__ == "__main__":
    STUB.write_text(stub(), encoding="utf-8")
