"""An extension of griffe: what the site shows otherwise than the sources have it."""

import re
from typing import Any

import griffe


class Rooms(griffe.Extension):  # type: ignore[misc]
    """Leaves out what hides a room, and lists what a tracker needs, writes and drops."""

    def on_module_members(self, *, mod: griffe.Module, **kwargs: Any) -> None:
        """Leave the room alone in the module that hides it."""
        if mod.path == "runcast" and "run" in mod.members and mod.members["run"].is_attribute:
            del mod.members["run"]

    def on_module_instance(self, *, mod: griffe.Module, **kwargs: Any) -> None:
        """Make a list of definitions of what an integration's docstring says in lines such as "Needs: …"."""
        if mod.path.startswith("runcast.integrations.") and mod.docstring is not None:
            found = re.sub(r"^(Needs|Writes|Drops|Limits): ", r"\n\1\n:   ", mod.docstring.value, flags=re.MULTILINE)
            mod.docstring.value = found.replace("the constants below", "the constants in its source")
