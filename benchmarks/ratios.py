"""The one form in which a benchmark hands its ratios to ``benchmarks/run``."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Ratio:
    """A measured thing in times of another: what a machine's speed does not enter.

    Attributes:
        what: the thing, and under which conditions.
        times: how many times the other.
        other: what it is compared with.
        asked: what it must reach; empty where nothing is asked.
        reached: whether it does; None where nothing is asked.
    """

    what: str
    times: float
    other: str
    asked: str = ""
    reached: bool | None = None


def add_option(parser: argparse.ArgumentParser) -> None:
    """Let a benchmark be called by ``benchmarks/run``."""
    parser.add_argument("--ratios", type=Path, metavar="FILE", help="put the ratios there as JSON")


def put(given: argparse.Namespace, ratios: Sequence[Ratio]) -> None:
    """Write the ratios where ``--ratios`` says, if it does."""
    if given.ratios is not None:
        text = json.dumps([asdict(ratio) for ratio in ratios], indent=2)
        given.ratios.write_text(text + "\n", encoding="utf-8")


def read(path: Path) -> list[Ratio]:
    """Read what a benchmark put."""
    return [Ratio(**each) for each in json.loads(path.read_text(encoding="utf-8"))]
