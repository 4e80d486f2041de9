"""Run a command several times beside processes that keep every processor busy: `python tools/busy.py 3 make test`."""

import os
import subprocess
import sys
import time


def main() -> int:
    """Run the command, print how long each run took, and return 1 if one of them failed."""
    times, *command = sys.argv[1:]
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    failed = 0
    try:
        for number in range(1, int(times) + 1):
            started = time.monotonic()
            code = subprocess.call(command)
            failed += code != 0
            minutes = (time.monotonic() - started) / 60
            sys.stdout.write(f"run {number} of {times}: exit code {code} after {minutes:.1f} min\n")
            sys.stdout.flush()
    finally:
        for process in busy:
            process.kill()
            process.wait()
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
