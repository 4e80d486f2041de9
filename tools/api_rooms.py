"""An extension of griffe, for the API page: `runcast.run` is a room, whatever else the stub says that it is."""

from typing import Any

import griffe


class Rooms(griffe.Extension):  # type: ignore[misc]
    """Removes from the stub the properties of the current run that hide a room of the package."""

    def on_module_members(self, *, mod: griffe.Module, **kwargs: Any) -> None:
        """Leave the room alone in the module that hides it."""
        if mod.path == "runcast" and "run" in mod.members and mod.members["run"].is_attribute:
            del mod.members["run"]
