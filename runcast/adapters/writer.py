"""The calls of TensorBoard's SummaryWriter, for a run.

Scripts make them as `logger.writer.add_scalar(…)` in Ignite, and as `logger.experiment.add_scalar(…)` in Lightning.
"""

import sys
from collections.abc import Callable, Mapping
from typing import Any
from weakref import ref

import torch

from runcast.adapters.named_media import by_name, keep_layers, log_figure, log_several
from runcast.core.foreign import attempt
from runcast.run.run import Run
from runcast.values.media.kinds import Audio, Histogram, Image, Text, Video


class Writer:
    """A writer whose calls go to a run; the arguments are those of `torch.utils.tensorboard.SummaryWriter`.

    Args:
        open_run: Returns the run.
    """

    def __init__(self, open_run: Callable[[], Run]) -> None:
        self._open_run = open_run

    @classmethod
    def give_to(cls, run: Run) -> Run:
        """Give a run the calls of a writer, beside its own; return it."""
        if "add_scalar" not in vars(run):
            writer = cls(ref(run))  # type: ignore[arg-type]  # who calls the run's writer has the run
            vars(run).update({name: getattr(writer, name) for name in vars(cls) if name.startswith("add_")})
        return run

    def add_scalar(self, tag: str, scalar_value: Any, global_step: int | None = None, *_: Any, **__: Any) -> None:
        """Log a number."""
        self._open_run().log({tag: scalar_value}, step=global_step)

    def add_scalars(
        self, main_tag: str, tag_scalar_dict: Mapping[str, Any], global_step: int | None = None, *_: Any, **__: Any
    ) -> None:
        """Log numbers as main_tag/tag."""
        self._open_run().log({main_tag: tag_scalar_dict}, step=global_step)

    def add_histogram(self, tag: str, values: Any, global_step: int | None = None, *_: Any, **__: Any) -> None:
        """Log how values are spread."""
        self._open_run().log({tag: Histogram(values)}, step=global_step)

    def add_image(
        self,
        tag: str,
        img_tensor: Any,
        global_step: int | None = None,
        walltime: float | None = None,
        dataformats: str = "CHW",
    ) -> None:
        """Log an image whose dimensions `dataformats` names."""
        self._open_run().log({tag: _image(img_tensor, dataformats)}, step=global_step)

    def add_images(
        self,
        tag: str,
        img_tensor: Any,
        global_step: int | None = None,
        walltime: float | None = None,
        dataformats: str = "NCHW",
    ) -> None:
        """Log a batch of images, as tag/0, tag/1 …."""
        parts = attempt(
            lambda: list(torch.as_tensor(img_tensor).movedim(dataformats.index("N"), 0)), lambda _: [img_tensor]
        )
        images = [_image(part, dataformats.replace("N", "")) for part in parts]
        self._open_run().log(by_name(tag, images), step=global_step)

    def add_figure(
        self, tag: str, figure: Any, global_step: int | None = None, close: bool = True, *_: Any, **__: Any
    ) -> None:
        """Log one figure or several, and close them."""
        several = figure if isinstance(figure, list) else [figure]
        for name, each in by_name(tag, several).items():
            log_figure(self._open_run(), each, name, global_step)
        if close and (pyplot := sys.modules.get("matplotlib.pyplot")) is not None:
            for each in several:
                attempt(lambda: pyplot.close(each), lambda _: None)  # noqa: B023 - called at once

    def add_text(self, tag: str, text_string: str, global_step: int | None = None, *_: Any, **__: Any) -> None:
        """Log a text."""
        self._open_run().log({tag: Text(text_string)}, step=global_step)

    def add_audio(
        self,
        tag: str,
        snd_tensor: Any,
        global_step: int | None = None,
        sample_rate: int = 44100,
        *_: Any,
        **__: Any,
    ) -> None:
        """Log a sound."""
        self._open_run().log({tag: Audio(snd_tensor, sample_rate)}, step=global_step)

    def add_video(
        self, tag: str, vid_tensor: Any, global_step: int | None = None, fps: float = 4, *_: Any, **__: Any
    ) -> None:
        """Log a video, or a batch of them as tag/0, tag/1 …: frames, or the path of a file."""
        log_several(self._open_run(), Video, tag, vid_tensor, global_step, {"fps": fps})

    def add_hparams(
        self,
        hparam_dict: Mapping[str, Any],
        metric_dict: Mapping[str, Any],
        *_: Any,
        global_step: int | None = None,
        **__: Any,
    ) -> None:
        """Log the configuration, and the resulting metrics."""
        self._open_run().log_params(hparam_dict)
        if metric_dict:
            self._open_run().log(metric_dict, step=global_step)

    def add_graph(self, model: torch.nn.Module, *_: Any, **__: Any) -> None:
        """Keep the model's layers, as PyTorch prints them, as the artifact `model.txt`."""
        keep_layers(self._open_run(), model)

    def flush(self) -> None:
        """Do nothing: a value is safe when it was logged."""

    def close(self) -> None:
        """Do nothing: the logger finishes the run."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"A run of runcast has no {name!r}, which is TensorBoard's own. It has: "
            f"{', '.join(name for name in vars(Writer) if name.startswith('add_'))}."
        )


def _image(values: Any, dataformats: str) -> Image:
    order = [dataformats.upper().find(letter) for letter in ("CHW" if "C" in dataformats.upper() else "HW")]
    return Image(attempt(lambda: torch.as_tensor(values).permute(order), lambda _: values))
