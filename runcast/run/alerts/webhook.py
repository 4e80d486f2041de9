"""Messages to the user's webhook, as JSON; its address is a secret."""

import atexit
import http.client
import json
import logging
import threading
import urllib.request
from typing import Any

TIMEOUT_S = 10.0

_log = logging.getLogger("runcast.webhook")


def post(url: str, message: dict[str, Any], about: str, timeout_s: float) -> None:
    """Post a message to a webhook; what goes wrong costs a line in the log, without the address, which is a secret."""
    try:
        request = urllib.request.Request(  # noqa: S310 - the user's own address
            url, json.dumps(message).encode(), {"Content-Type": "application/json"}
        )
        urllib.request.urlopen(request, timeout=timeout_s).close()  # noqa: S310
    except (OSError, ValueError, http.client.HTTPException) as problem:
        code = getattr(problem, "code", None)
        what = type(problem).__name__ + (f" {code}" if isinstance(code, int) else "")  # its text may hold the address
        _log.warning("The webhook was not notified %s: %s.", about, what)


def post_beside(url: str, message: dict[str, Any], about: str, timeout_s: float) -> None:
    """Post from a thread of its own, which the end of the program waits for."""
    thread = threading.Thread(target=post, args=(url, message, about, timeout_s), daemon=True)
    thread.start()
    atexit.register(thread.join, timeout_s)
