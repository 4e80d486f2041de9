"""The process that collects a snapshot, as the run sees it: started, and awaited at the end."""

import contextlib
import os
import select
import subprocess
import sys
from collections.abc import Sequence

from runcast.delivery.courier.spawning import child_environment, module_command

PREFIX = "snapshot/"  # of the params
PATIENCE_S = 45.0  # more than Git gets for all that it is asked


class Collector:
    """A process that nobody has to wait for: it is no child of this one, so no `os.wait` of the script finds it.

    A pipe to it is open at its end while it lives, and at this one while its run waits for it.

    Args:
        directory: The run's folder.
        parts: What to collect.
        root: The work tree, or empty.

    Raises:
        OSError: It could not be started.
    """

    def __init__(self, directory: str, parts: Sequence[str], root: str) -> None:
        path = [each for each in sys.path if isinstance(each, str)]  # Python imports nothing from others
        self._descriptor, theirs = os.pipe()
        try:
            arguments = (directory, str(theirs), ",".join(parts), root, *path)
            subprocess.run(
                ["/bin/sh", "-c", '"$@" &', "sh", *module_command("runcast.run.snapshot.collecting", *arguments)],
                cwd=directory,
                env=child_environment(),
                pass_fds=(theirs,),
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=True,
            )
        except BaseException:
            self.abandon()
            raise
        finally:
            os.close(theirs)

    def wait(self, timeout_s: float) -> None:
        """Wait until the process has ended; after the timeout it records nothing any more."""
        if self._descriptor >= 0:
            poll = select.poll()
            poll.register(self._descriptor, select.POLLIN)
            poll.poll(1000 * min(timeout_s, PATIENCE_S))
        self.abandon()

    def abandon(self) -> None:
        """Stop waiting: the process records nothing any more."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with contextlib.suppress(OSError):  # a daemon has closed it
                os.close(descriptor)
