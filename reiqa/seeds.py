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


def generator(*parts: Part) -> np.random.Generator:
    """Return a counter-based (Philox) generator seeded by ``derive(*parts)``."""
    return np.random.Generator(np.random.Philox(derive(*parts)))
