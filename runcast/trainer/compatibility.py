"""What callbacks of transformers ask of the arguments, besides the settings: so that they run unchanged."""

import json
import os
from typing import Any

from runcast.core.values import as_json


class AskedByCallbacks:
    """Answers as `transformers.TrainingArguments` does."""

    trackio_space_id = trackio_bucket_id = trackio_static_space_id = None  # of their TrackioCallback

    def to_dict(self) -> dict[str, Any]:
        """Return the settings by name."""
        raise NotImplementedError

    def to_json_string(self) -> str:
        """Return the settings as JSON."""
        return json.dumps(as_json(self.to_dict()), indent=2)

    def to_sanitized_dict(self) -> dict[str, Any]:
        """Return the settings with nothing but numbers, switches and texts."""
        plain = (bool, int, float, str)
        return {name: value if type(value) in plain else str(value) for name, value in self.to_dict().items()}

    @property
    def do_eval(self) -> bool:
        """Tell whether there are evaluations."""
        return bool(self.to_dict()["eval_strategy"] != "no")

    @property
    def process_index(self) -> int:
        """Return the number of this process in the job."""
        return int(os.environ.get("RANK", 0))

    @property
    def local_process_index(self) -> int:
        """Return the number of this process on its machine."""
        return int(os.environ.get("LOCAL_RANK", 0))

    @property
    def world_size(self) -> int:
        """Return how many processes the job has."""
        return int(os.environ.get("WORLD_SIZE", 1))

    @property
    def n_gpu(self) -> int:
        """Return how many GPUs this process uses."""
        import torch

        return int(torch.cuda.is_available() and not getattr(self, "use_cpu", False))
