"""Seeds of all random draws, as functions of parameters and item.

Seeds do not depend on order, process or time, so every item is reproducible on its own.
"""

import hashlib
import json
from typing import TypeAlias

import numpy as np

Part: TypeAlias = str | int | float | bool


def derive(*parts: Part) -> int:
    """Return a seed in ``[0, 2**63)`` that depends on every part and on their order.

    Example:
        >>> derive("chunks", 0, "kodim01.png") == derive("chunks", 0, "kodim01.png")
        True
    """
    text = json.dumps(parts, separators=(",", ":"), ensure_ascii=True)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def derive_series(count: int, *parts: Part) -> list[int]:
    """Return ``[derive(*parts, 0), ..., derive(*parts, count - 1)]``, hashing the parts once."""
    text = json.dumps(parts, separators=(",", ":"), ensure_ascii=True)
    common = hashlib.blake2b(text[:-1].encode(), digest_size=8)
    found = []
    for number in range(count):
        own = common.copy()
        own.update(b",%d]" % number)
        found.append(int.from_bytes(own.digest(), "big") >> 1)
    return found


def generator(*parts: Part) -> np.random.Generator:
    """Return a counter-based (Philox) generator seeded by ``derive(*parts)``."""
    return np.random.Generator(np.random.Philox(derive(*parts)))
