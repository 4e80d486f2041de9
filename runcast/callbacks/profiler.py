"""A profile of chosen steps: what the processor and the device did, as a trace that a browser shows."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runcast.callbacks.host import open_runs
from runcast.core.errors import OptionError
from runcast.core.events import TrainerCallback, TrainerControl, TrainerState
from runcast.redaction.console import say


class ProfilerCallback(TrainerCallback):
    """A callback that profiles some steps with torch.profiler; the trace is an artifact in every tracker.

    `traces` lists the files, which chrome://tracing and https://ui.perfetto.dev open. Other steps cost nothing.

    Args:
        first_step: The first step to profile; the ones before it warm up.
        steps: How many steps are profiled.
        every: Profile again each so many steps.
        output_dir: Where the traces go; by default "profile" in the trainer's output folder.
        activities: "cpu", "cuda" or "xpu"; by default the processor, and the device if there is one.
        report: The `ReportCallback`, or the run, to log to. Our Trainer's callbacks find it by themselves; in that of
            transformers it has to be given.
        options: What else torch.profiler.profile takes: record_shapes, profile_memory, with_stack, with_flops.

    Raises:
        OptionError: The numbers describe no steps.
    """

    reports = True

    def __init__(
        self,
        first_step: int = 10,
        steps: int = 3,
        every: int | None = None,
        output_dir: str | os.PathLike[str] | None = None,
        *,
        activities: Sequence[str] | None = None,
        report: Any = None,
        **options: Any,
    ) -> None:
        if first_step < 1 or steps < 1 or (every is not None and every < steps):
            raise OptionError(
                f"first_step={first_step}, steps={steps} and every={every} describe no steps. They are counted from 1, "
                "and every must not be less than steps."
            )
        self.traces: list[Path] = []
        self._first, self._steps, self._every = first_step, steps, every
        self._output_dir, self._activities, self._report, self._options = output_dir, activities, report, options
        self._profile: Any = None
        self._begun = 0

    def on_step_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Start the profiler before the first of the steps."""
        behind = state.global_step + 1 - self._first
        if self._profile is None and behind >= 0 and (behind == 0 or (self._every and behind % self._every == 0)):
            self._begun = state.global_step + 1
            self._start(args)

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Stop the profiler after the last of the steps, and write the trace."""
        if self._profile is not None:
            if state.global_step >= self._begun + self._steps - 1:
                self._stop(args, state, kwargs.get("callback_handler"))
            else:
                self._profile.step()

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Write what was profiled of a training that is over."""
        if self._profile is not None:
            self._stop(args, state, kwargs.get("callback_handler"))

    def teardown(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Stop the profiler after an exception."""
        profile, self._profile = self._profile, None
        if profile is not None:
            profile.stop()

    def _start(self, args: Any) -> None:
        from torch import profiler

        kind = getattr(args.device, "type", "cpu")
        names = self._activities or (("cpu",) if kind not in ("cuda", "xpu") else ("cpu", kind))
        activities = [getattr(profiler.ProfilerActivity, name.upper()) for name in names]
        self._profile = profiler.profile(activities=activities, **self._options)
        self._profile.start()

    def _stop(self, args: Any, state: TrainerState, callback_handler: Any) -> None:
        profile, self._profile = self._profile, None
        profile.stop()
        folder = Path(self._output_dir or Path(args.output_dir) / "profile")
        folder.mkdir(parents=True, exist_ok=True)
        name = f"rank-{args.process_index}-steps-{self._begun}-{state.global_step}.pt.trace.json.gz"
        profile.export_chrome_trace(str(folder / name))
        self.traces.append(folder / name)
        if state.is_world_process_zero:
            for run in open_runs(self._report, callback_handler):
                run.log_artifact(folder / name, type="profile")
            say(f"the profile of steps {self._begun} to {state.global_step} is in {folder / name}.")
