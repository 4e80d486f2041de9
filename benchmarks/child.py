"""What a measuring process runs: `python -m benchmarks.child MODULE:FUNCTION ARGUMENTS RESULT`.

Imports nothing that a measurement could feel.
"""

import importlib
import json
import os
import sys
import traceback


def main() -> int:
    """Call one function with keyword arguments given as JSON, and write what it returns as JSON."""
    target, arguments, result = sys.argv[1:]
    module, _, name = target.partition(":")
    try:
        answer = getattr(importlib.import_module(module), name)(**json.loads(arguments))
        with open(result, "w", encoding="utf-8") as file:
            json.dump(answer, file)
    except Exception:
        traceback.print_exc()
        return 1
    finally:
        from benchmarks.harness import end_descendants

        end_descendants(os.getpid())
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # an SDK's exit handlers may take minutes, and the measurement is over
