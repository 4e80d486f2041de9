"""Images, figures, sounds, videos, texts, tables and histograms.

`kinds.py` has the classes, `recognition.py` finds what bare values are, `rendering.py` makes files of them, `tables.py`
reads tables in any form, and `cells.py` reads and writes their cells.
"""

from typing import Literal, TypeAlias

MediaKind: TypeAlias = Literal["image", "audio", "video", "text", "table", "histogram", "html"]
