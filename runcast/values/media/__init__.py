"""Images, figures, sounds, videos, texts, tables and histograms.

`kinds.py` has the classes, `rendering.py` makes files of them, `cells.py` reads and writes the cells of a table.
"""

from typing import Literal, TypeAlias

MediaKind: TypeAlias = Literal["image", "audio", "video", "text", "table", "histogram"]
