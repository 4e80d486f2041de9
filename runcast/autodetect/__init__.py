"""Which trackers can be used, and which a run will use: `report_to` becomes decisions with reasons.

Imports no SDK, opens no socket, asks nothing. Start reading at `selection.py`, then `usable.py`.
"""

from runcast.autodetect.joining import join_open_runs
from runcast.autodetect.selection import Selection, decide, select, survey
from runcast.autodetect.usable import Survey

__all__ = ["Selection", "Survey", "decide", "join_open_runs", "select", "survey"]
