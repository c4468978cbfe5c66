"""How much an endpoint holds, without knowing how it is built."""

from __future__ import annotations

import enum
from collections import deque

_CONTAINERS = (dict, list, tuple, set, frozenset, deque)


def items_held(root: object) -> int:
    """Entries of all containers that are reachable from an object of the library's."""
    seen: set[int] = set()
    waiting = [root]
    count = 0
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, _CONTAINERS):
            count += len(thing)
            waiting += thing.values() if isinstance(thing, dict) else thing
        elif type(thing).__module__.startswith("rudp.") and not isinstance(thing, enum.Enum):
            names = [
                name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())
            ]
            names += getattr(thing, "__dict__", ())
            waiting += [getattr(thing, name) for name in names if hasattr(thing, name)]
    return count
