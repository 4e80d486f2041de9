"""The search for the refused values of a request, so that all others arrive.

A request is refused as a whole, and the service does not say for which values. Plain halving would take two calls for
each of many refused values. So parts are split where values begin to differ in kind (a sign, an infinity, a key),
because values refused for one reason are mostly of one kind and adjacent. A part whose halves are both refused for one
reason is probed: some of its values are sent alone, of each kind and key if there are few. If all of them are refused,
so is the part. `limit` bounds the number of calls; values that are undecided then count as refused.
"""

import math
import re
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import pairwise
from typing import Any, Generic, TypeVar

from runcast.core.errors import FinalError

PROBES = 8  # and one more whenever the part is four times as large
FEW = 4  # not worth probing
CALLS, REASONS = 20, 4
GOLDEN = (math.sqrt(5) - 1) / 2  # its multiples spread evenly, without matching a period of the training
UNDECIDED = " (one of {} values that were refused together, which were not all tried alone)"
_VARYING = re.compile(r"""'[^']*'|"[^"]*"|`[^`]*`|[-+]?\d[\w.+-]*""")

Item = TypeVar("Item")


def limit(count: int, reasons: int = 1) -> int:
    """Return how many calls may be spent on a refused request of *count* values."""
    return CALLS * (1 + math.ceil(math.log2(max(2, count)))) * min(reasons, REASONS)


def same_reason(error: Exception | str) -> str:
    """Return a refusal's text without the parts that differ from value to value: numbers and quoted text."""
    return _VARYING.sub("…", str(error))


class Narrowing(Generic[Item]):
    """The search in one refused request.

    Args:
        send: Sends some of the values; returns those that did not arrive, and the reason.
        refuse: Called with values that the service refuses, and the reason.
        orders: Sort keys that bring values of one kind together; the first is tried first.
        label: Maps an entry of `FinalError.refused` and the value that it stands for to the same thing.
    """

    def __init__(
        self,
        send: Callable[[list[Item]], tuple[list[Item], FinalError | None]],
        refuse: Callable[[list[Item], str], None],
        orders: Sequence[Callable[[Item], Any]],
        label: Callable[[Any], Hashable],
    ) -> None:
        self._send, self._refuse, self._orders, self._label = send, refuse, orders, label
        self._place: Callable[[Item], int]  # index among the given values
        self._calls = self._limit = self._size = self._rounds = 0
        self._seen: list[tuple[Item, str]] = []  # the known outcome of single values: the reason, or "" if accepted
        self._reasons: set[str] = set()
        self._refused_whole: set[str] = set()  # reasons for which a part was refused

    def run(self, items: list[Item], error: FinalError) -> None:
        """Send all of *items*, which were refused together, except for those that the service refuses."""
        self._size = len(items)
        place = {id(item): at for at, item in enumerate(items)}
        self._place = lambda item: place[id(item)]
        self._orders = (*self._orders, self._place)
        open_parts, cut_by = [(items, error)], self._orders[0]
        while open_parts:
            if (best := min(self._orders, key=self._changes)) is not cut_by:
                open_parts, cut_by = _joined(open_parts), best
            # The first refused value is located at once, because it guides the search; then the largest part comes
            # first.
            knows_one = any(reason for _, reason in self._seen)
            open_parts.sort(key=lambda each: len(each[0]), reverse=not knows_one)
            part, error = open_parts.pop()
            self._reasons.add(same_reason(error))
            self._limit = limit(self._size, len(self._reasons))
            if self._calls >= self._limit:
                self._refuse(part, f"{error}{UNDECIDED.format(len(part)) if len(part) > 1 else ''}")
            else:
                open_parts += self._narrow(part, error)

    def _narrow(self, part: list[Item], error: FinalError) -> list[tuple[list[Item], FinalError]]:
        """Decide some values of a refused part; return the rest that is still refused together."""
        part, is_named = self._without_named(part, error)
        if len(part) == 1 and not is_named:
            self._decide(part[0], error)
            return []
        self._rounds += is_named  # stop following a service that names one value at a time
        halves = [part] if is_named and (self._rounds < FEW or len(part) < 2) else self._halves(part)
        halves = sorted(
            (sorted(half, key=self._place) for half in halves if half), key=lambda half: self._place(half[0])
        )
        refused = [answer for half in halves if (answer := self._ask(half)) is not None]
        reasons = {same_reason(why) for _, why in refused}
        if len(refused) < 2 or len(reasons) > 1 or len(part) <= FEW:
            return refused
        rest, is_whole = self._probe([item for half, _ in refused for item in half], same_reason(refused[0][1]))
        if is_whole:
            self._refused_whole |= reasons
            self._refuse(rest, str(refused[0][1]))
            return []
        left, refused_alone = {id(item) for item in rest}, {id(item) for item, reason in self._seen if reason}
        parts = []
        for half, why in refused:
            undecided = [item for item in half if id(item) in left]
            if any(id(item) in refused_alone for item in half):  # the others may be acceptable
                parts += [answer] if (answer := self._ask(undecided)) is not None else []
            elif undecided:
                parts.append((undecided, why))
        return parts

    def _ask(self, part: list[Item]) -> tuple[list[Item], FinalError] | None:
        """Send a part; return what did not arrive and why, or None if everything did."""
        if not part:
            return None
        self._calls += 1
        lacking, error = self._send(part)
        if error is None or not lacking:
            self._seen += [(item, "") for item in {id(part[at]): part[at] for at in (0, len(part) // 2, -1)}.values()]
            return None
        return lacking, error

    def _decide(self, item: Item, error: FinalError) -> None:
        self._seen.append((item, same_reason(error)))
        self._refuse([item], str(error))

    def _without_named(self, part: list[Item], error: FinalError) -> tuple[list[Item], bool]:
        """Remove the values that the tracker names as refused; return the rest, and whether there were any."""
        named = Counter(map(self._label, error.refused))
        rest = []
        for item in part:
            one = self._label(item) if named else None
            if named and named[one] > 0:
                named[one] -= 1
                self._decide(item, error)
            else:
                rest.append(item)
        return rest, len(rest) < len(part)

    def _halves(self, part: list[Item]) -> list[list[Item]]:
        """Split a part where values begin to differ, in the order that best separates refused from accepted ones."""
        for order in sorted(self._orders, key=self._changes):
            classes: dict[Any, list[Item]] = {}
            for item in part:
                classes.setdefault(order(item), []).append(item)
            if len(classes) > 1:
                sizes, total = [len(classes[each]) for each in sorted(classes)], 0
                ordered = [item for each in sorted(classes) for item in classes[each]]
                cuts = [total := total + size for size in sizes[:-1]]
                cut = min(cuts, key=lambda at: abs(2 * at - len(part)))
                return [ordered[:cut], ordered[cut:]]
        middle = len(part) // 2
        return [part[:middle], part[middle:]]

    def _changes(self, order: Callable[[Item], Any]) -> int:
        """Score an order: count where the outcome of single values changes, and twice where equal values differ."""
        places: dict[Any, Counter[str]] = {}
        for item, reason in self._seen:
            places.setdefault(order(item), Counter())[reason] += 1
        odd = sum(outcomes.total() - max(outcomes.values()) for outcomes in places.values())
        ordered = [places[place].most_common(1)[0][0] for place in sorted(places)]
        return 2 * odd + sum(one != other and bool(other) for one, other in pairwise(["", *ordered]))

    def _probe(self, part: list[Item], reason: str) -> tuple[list[Item], bool]:
        """Send some values alone; return the others, and whether all of those sent were refused for *reason*."""
        # The very first probes are all sent, whatever their outcome: they tell in which order to split from here on.
        is_whole, is_first = True, not any(why for _, why in self._seen)
        undecided = {id(item): item for item in part}
        queue, companions = deque(self._spread(part, reason)), FEW
        while queue and (is_whole or is_first):
            if self._calls >= self._limit:
                return list(undecided.values()), False
            item = queue.popleft()
            if undecided.pop(id(item), None) is None:
                continue
            answer = self._ask([item])
            if answer is not None:
                self._decide(item, answer[1])
                if is_first and companions and (alike := self._most_distant(item, undecided.values())):
                    companions -= 1
                    queue.append(alike)
            is_whole = is_whole and answer is not None and same_reason(answer[1]) == reason
        return list(undecided.values()), is_whole

    def _most_distant(self, item: Item, others: Iterable[Item]) -> Item | None:
        """Return the most distant value of the same kind and key, to see whether it is refused too."""
        one, place = self._class(item), self._place
        alike = [other for other in others if self._class(other) == one]
        return max(alike, key=lambda other: abs(place(other) - place(item)), default=None)

    def _class(self, item: Item) -> tuple[Any, ...]:
        return tuple(order(item) for order in self._orders[:2])

    def _spread(self, part: list[Item], reason: str) -> list[Item]:
        """Choose values to probe: the ends of each order, some of each kind and key, and some in between."""
        classes: dict[Any, list[Item]] = {}
        for item in part:
            classes.setdefault(self._class(item), []).append(item)
        count = PROBES + math.ceil(math.log2(len(part)) / 2)
        if len(classes) == 1 and reason in self._refused_whole:
            count = FEW  # another key is refused for the reason of a whole key
        ends = [end(part, key=order) for order in self._orders for end in (min, max)]
        kinds = [_between(each, at) for at, each in enumerate(_some(list(classes.values()), 2 * count))]
        chosen = [*ends[-2:], *kinds, *ends, *(_between(part, at) for at in range(1, count))]
        return list({id(item): item for item in chosen}.values())[: max(count, min(len(classes) + 2, 2 * count))]


def _joined(parts: list[tuple[list[Item], FinalError]]) -> list[tuple[list[Item], FinalError]]:
    """Rejoin parts that were split in another order and refused for one reason."""
    joined: dict[str, tuple[list[Item], FinalError]] = {}
    for part, error in parts:
        joined.setdefault(same_reason(error), ([], error))[0].extend(part)
    return list(joined.values())


def _between(items: list[Item], index: int) -> Item:
    return items[round(index * GOLDEN % 1 * (len(items) - 1))]


def _some(items: list[Any], count: int) -> list[Any]:
    if len(items) <= count:
        return items
    return [items[round(index * (len(items) - 1) / (count - 1))] for index in range(count)]
