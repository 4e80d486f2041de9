"""`Live` without its surprises, and how it is opened. Seen in dvclive 3.49.1, 2026-11-20."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dvclive import Live
from dvclive.error import DvcLiveError
from dvclive.plots import Image
from dvclive.serialize import dump_json, get_yaml
from scmrepo.exceptions import SCMError

from runcast.core.errors import FinalError
from runcast.integrations.contract import TrackedRun
from runcast.integrations.files import link

MAX_WIDTH = 2**31  # a long text that is folded may not be read back: ruamel.yaml cuts between a backslash and an n


def folder_of(run: TrackedRun) -> Path:
    """Return the folder of a run, which `setup` remembers if it is not the run's own."""
    return Path(run.ids.get("dir") or run.local / "dvclive")


def open_live(run: TrackedRun) -> "QuietLive":
    """Begin the run's `Live`, or resume it."""
    given = {"exp_name": run.name} if "name" in run.given else {}
    folder = os.path.abspath(run.ids.get("dir") or run.options.get("dir") or folder_of(run))
    options = {"save_dvc_exp": False, "dvcyaml": None, **given, **run.options}
    try:
        options |= {"dir": folder, "resume": run.resumed or run.options.get("resume", False)}
        return QuietLive(is_online=run.online, **options)
    except (DvcLiveError, SCMError, OSError, TypeError, ValueError) as error:
        hint = "Look at setup={'dvclive': …} and DVCLIVE_*."
        raise FinalError(f"DVCLive cannot start in {folder}: {error}. {hint}") from error


class QuietLive(Live):  # type: ignore[misc]
    """A `Live` that a reader can rely on.

    It leaves Git alone, a kill cannot tear its files, and it parses the tables only for DVC Studio.
    """

    def __init__(self, *, is_online: bool, **options: Any) -> None:
        self._is_online = is_online
        super().__init__(**options)

    def _init_dvc(self) -> None:
        # Live runs `dvc init` in any Git repository that has no .dvc (get_dvc_repo in dvclive/dvc.py of 3.49.1).
        here = Path.cwd()
        if self._save_dvc_exp or any((folder / ".dvc").is_dir() for folder in (here, *here.parents)):
            try:
                super()._init_dvc()
                return
            except SCMError:  # "Empty git repo", say, before the first commit
                if self._save_dvc_exp:
                    raise
        self._dvc_repo = None
        self._dvc_file = self._init_dvc_file()

    def _init_test(self) -> None:  # of DVCLIVE_TEST
        self._dvc_file = self._init_dvc_file()

    def _init_studio(self) -> None:
        if self._is_online:
            super()._init_studio()
        else:  # also where DVC_STUDIO_OFFLINE is "false"
            self._studio_events_to_skip.update(("start", "data", "done"))

    def _dump_params(self) -> None:
        _replace(Path(self.params_file), self._write_params)

    def _write_params(self, path: Path) -> None:
        yaml = get_yaml()
        yaml.width = MAX_WIDTH
        with path.open("w", encoding="utf-8") as file:
            yaml.dump(self._params, file)

    def make_summary(self) -> None:
        if self._step is not None:
            self.summary["step"] = self.step
        _replace(Path(self.metrics_file), lambda new: dump_json(self.summary, new))

    def post_data_to_studio(self) -> None:
        if "data" not in self._studio_events_to_skip:
            super().post_data_to_studio()

    def link_image(self, name: str, source: Path) -> None:
        """Do what log_image does, but without Pillow, which would encode the image again."""
        image = self._images[name] = Image(name, self.plots_dir)
        image.step = self.step
        link(source, image.output_path)


def _replace(path: Path, write: Callable[[Path], None]) -> None:
    new = path.with_name(f".{path.name}.new")
    write(new)
    new.replace(path)
