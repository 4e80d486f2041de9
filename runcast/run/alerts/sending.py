"""An alert of a run: a record in its journal, and a message to the user's webhook."""

import os
import time
from typing import Any

from runcast.journal.records import ALERTS
from runcast.redaction.tree import redact_text
from runcast.run.alerts.titles import LEVELS, level_of, one_line
from runcast.run.alerts.webhook import TIMEOUT_S, post_beside
from runcast.run.options import WEBHOOK_VARIABLE
from runcast.values.media.kinds import Text
from runcast.values.scalars import without_surrogates


def send(run: Any, title: Any, text: Any, level: Any) -> None:
    """Send an alert of a `Run`, unless one of its title was sent a moment ago."""
    if run._journal is None:
        run._log_unusual()
        return
    if (word := level_of(level)) is None:
        word = "info"
        run._drop("alert level", f"is {level!r}; {word!r} is used. Use {', '.join(LEVELS)}")
    head = redact_text(one_line(title))
    if (held := run._pauses.note(head, time.monotonic())) is None:
        return
    more = f"({held} more of these were held back.)" if held else ""
    caption = f"{word}: {head}"
    content = "\n\n".join(filter(None, (caption, redact_text(without_surrogates(str(text or ""))), more)))
    run._log_media(ALERTS, Text(content, caption=caption), run.step, time.time())
    run.add_tags(f"alert-{word}")
    if url := os.environ.get(WEBHOOK_VARIABLE):
        message = {"text": f"{run.name}: {content}", "status": "alert", "level": word, "title": head}
        post_beside(url, {**message, "name": run.name, "step": run.step}, "of an alert", TIMEOUT_S)
