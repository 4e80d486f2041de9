"""Random ids and pronounceable names, from the operating system's randomness.

Seeding a training must not give all of its runs the same name.
"""

import os
import time

_FIRST = (
    "amber brisk calm clear coral crisp daring eager early fleet fresh gentle golden happy jolly keen lively lucky "
    "mellow merry nimble noble plain proud quick quiet rapid ready silver steady sunny swift tidy vivid warm wise "
)
_SECOND = (
    "aspen badger beacon birch brook cedar comet cove crane delta falcon fern finch fjord grove harbor heron lark "
    "lagoon maple meadow otter peak pine plover raven reef ridge river robin sparrow spruce summit tern willow wren "
)


def random_name() -> str:
    """Return a name such as "swift-heron-482"."""
    adjectives, nouns = _FIRST.split(), _SECOND.split()
    first, second, third, fourth = os.urandom(4)
    return f"{adjectives[first % len(adjectives)]}-{nouns[second % len(nouns)]}-{100 + (third * 256 + fourth) % 900}"


def random_id() -> str:
    """Return an id such as "20261129-184501-9f3a1c": the time, so that runs sort by age, and six random digits."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{os.urandom(3).hex()}"
