"""Hours and terabytes of a preset on a cluster, reckoned from its parameters and a few rates.

    python benchmarks/estimate.py                       print
    python benchmarks/estimate.py --write               and put it into docs/cluster.md
    python benchmarks/estimate.py --params params.yaml  of other parameters

Rates of the CPU are measured, each by the benchmark that its page names; the decoding of a JPEG is
measured here. No GPU was ever at hand: what one does is a column to choose from, not a number.
"""

import argparse
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from skimage import data

from reiqa import images, params, resources, store
from reiqa.data import catalog
from reiqa.params import EXPERTS, Params

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "cluster.md"
START, END = "<!-- estimate -->\n", "<!-- /estimate -->"

#: Nodes and GPUs of each.
CLUSTERS = ((1, 4), (6, 3))
#: Pairs of ResNet-50 at 160 pixels that a GPU might learn from in a second.
ASSUMED = (500, 1000, 2000, 4000)
#: Processors of a node, and what its network brings, in MB a second: assumed.
CORES, NETWORK = 16, 50.0

DAY = 24.0


@dataclass(frozen=True)
class Rate:
    """A measured rate of one CPU core, and where it stands."""

    value: float
    unit: str
    page: str


MEASURED = {
    "cut": Rate(13, "windows/s, the slowest row", "shards.md"),
    "read": Rate(144, "windows/s, the slowest row", "shards.md"),
    "window": Rate(1.66 * 0.395, "MB a window, the largest row, stored", "shards.md"),
    "render": Rate(13.94, "chunks/s", "bank.md"),
    "encode": Rate(1.4, "images/s of 288 x 384, ResNet-50 twice, both scales", "features.md"),
    "split": Rate(26.5, "s a split of 7,000 x 8,192", "regression.md"),
}


def decoded_per_second() -> float:
    """JPEGs of ImageNet's mean size that one core reads in a second of its time."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photograph.jpg"
        Image.fromarray(data.coffee()).resize((500, 375)).save(path, quality=95)
        images.read_rgb(path)
        start = time.process_time()
        for _ in range(200):
            images.read_rgb(path)
        return 200 / (time.process_time() - start)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(str(cell) for cell in line)} |\n" for line in lines)


def hours(seconds: float) -> str:
    return f"{seconds / 3600:,.1f}" if seconds < 360_000 else f"{seconds / 3600:,.0f}"


def learnt_from(preset: Params) -> dict[str, int]:
    """Items that an epoch of each expert goes through."""
    quality = sum(catalog.get_entry(name).images for name in preset.chunks.corpora)
    content = sum(catalog.get_entry(name).images for name in preset.content.corpora)
    return {"quality": quality * preset.chunks.draws, "content": content}


def work(preset: Params) -> str:
    """What there is to do, whatever does it."""
    rows = []
    for name, items in learnt_from(preset).items():
        training = preset.expert(name).training
        if training is None:
            continue
        steps = items // training.images * training.epochs
        pairs = steps * resources.pairs_per_step(name, preset)
        rows.append(
            (
                name,
                f"{items:,}",
                training.epochs,
                f"{resources.pairs_per_step(name, preset):,}",
                f"{steps:,}",
                f"{pairs / 1e6:,.0f}",
                f"{resources.pretraining_gmacs(name, preset) / 1e9:.2f}",
            )
        )
    head = ("expert", "photographs", "epochs", "pairs a step", "steps", "million pairs", "EMAC")
    return (
        table(head, rows)
        + "\nEMAC: 10^18 multiply-adds. An image of 224 px through ResNet-50 is 4.1"
        " 10^9 of them, one of 160 px (160/224)^2 of that; a step costs four forward passes of one"
        " encoder (query forward and backward: three, key forward: one).\n"
    )


def pretraining(preset: Params, decoded: float) -> str:
    """Hours on GPUs for each assumed rate, and what their CPUs must then deliver."""
    unit = 4 * 4.1 * (160 / 224) ** 2
    epochs = {name: preset.expert(name).training for name in EXPERTS}
    rows = []
    for nodes, gpus in CLUSTERS:
        for assumed in ASSUMED:
            speed = assumed * unit * nodes * gpus
            seconds = {name: resources.pretraining_gmacs(name, preset) / speed for name in EXPERTS}
            needed = {
                name: items * training.epochs / seconds[name]
                for name, items in learnt_from(preset).items()
                if (training := epochs[name]) is not None
            }
            rows.append(
                (
                    f"{nodes} x {gpus}",
                    f"{assumed:,}",
                    *(hours(seconds[name]) for name in ("quality", "content")),
                    f"**{hours(sum(seconds.values()))}**",
                    f"{needed['quality'] / MEASURED['read'].value / nodes:.1f}",
                    f"{needed['content'] / decoded / nodes:.1f}",
                    f"{needed['quality'] / nodes / gpus:.0f}",
                )
            )
    head = (
        "nodes x GPUs",
        "pairs/s a GPU (assumed)",
        "quality, h",
        "content, h",
        "both, h",
        "cores a node that read windows",
        "that decode JPEGs",
        "chunks/s to render on each GPU",
    )
    return (
        table(head, rows) + "\nHours: EMAC / (pairs/s x GPUs x the work of a pair of 160 px), one"
        " expert after the other, no loss by communication. Cores: photographs a second at that"
        f" pace over {MEASURED['read'].value:g} windows/s ([shards.md](benchmarks/shards.md)) and"
        f" {decoded:.0f} JPEGs of 500 x 375 a second (measured by the script, one core). Where a"
        f" node has fewer, it is they that set the pace. A CPU core renders"
        f" {MEASURED['render'].value:g} chunks/s ([bank.md](benchmarks/bank.md)); what a GPU"
        " renders beside its encoders was not measured.\n"
    )


def rest(preset: Params) -> str:
    """Hours of everything but pretraining, on the CPUs of one node."""
    rated = sum(catalog.get_entry(name).images for name in preset.datasets)
    quality = learnt_from(preset)["quality"]
    size = sum(
        catalog.get_entry(name).gigabytes or 0 for name in preset.datasets + preset.corpora()
    )
    area = 1024 * 768 / (288 * 384)
    fits = [0.7 * catalog.get_entry(name).images for name in preset.datasets]
    flops = [rows * min(rows, 8192) * 8192 + 4 / 3 * min(rows, 8192) ** 3 for rows in fits]
    one = 7000 * 7000 * 8192 + 4 / 3 * 7000**3
    splits = preset.regression.splits
    regression = sum(flops) / one * MEASURED["split"].value * splits * 2
    parts = [
        ("fetch", f"{size:,.0f} GB / {NETWORK:g} MB/s (assumed)", size * 1000 / NETWORK),
        (
            "chunks",
            f"{quality:,} windows / {MEASURED['cut'].value:g} / {CORES} cores",
            quality / MEASURED["cut"].value / CORES,
        ),
        (
            "features, without a GPU",
            f"{rated:,} images x {area:.1f} (1024 x 768) / {MEASURED['encode'].value:g}"
            f" / {CORES} cores",
            rated * area / MEASURED["encode"].value / CORES,
        ),
        (
            "fit and cross",
            f"{sum(flops) / one:.1f} x {MEASURED['split'].value:g} s x {splits} splits x 2"
            f" / {CORES} cores",
            regression / CORES,
        ),
    ]
    rows = [(name, how, hours(seconds)) for name, how, seconds in parts]
    return (
        table(("stage", "how", "hours"), rows)
        + f"\nA node of {CORES} processors is assumed. On GPUs"
        " features take a tenth of an hour or less, if the assumed rates hold. Official splits"
        " are one, not ten: fit is the most it can be.\n"
    )


def disk(preset: Params) -> str:
    """Terabytes."""
    photographs = learnt_from(preset)["quality"]
    rated = sum(catalog.get_entry(name).images for name in preset.datasets)
    raw = sum(
        catalog.get_entry(name).gigabytes or 0
        for name in preset.datasets + preset.corpora()
        if not catalog.get_entry(name).linked
    )
    linked = sum(
        catalog.get_entry(name).gigabytes or 0
        for name in preset.corpora()
        if catalog.get_entry(name).linked
    )
    windows = photographs * MEASURED["window"].value / 1e3
    # Two encoders and LARS's momentum, float32, and the queue.
    checkpoint = 3 * 25.6e6 * 4 / 1e9 + 65_536 * 128 * 4 / 1e9
    kept = 2 * 3 * checkpoint
    parts = [
        ("archives while they are unpacked", "as much again, for the time of it", raw),
        ("photographs, data/raw", "the catalog's sizes", raw),
        ("ImageNet, by a link to where it lies", "the catalog's size", linked),
        (
            "windows, data/chunks",
            f"{photographs:,} x {MEASURED['window'].value:.2f} MB, the most it can be",
            windows,
        ),
        ("checkpoints, work", f"2 experts x 3 kept x {checkpoint:.2f} GB", kept),
        (
            "features",
            f"{rated:,} x {2 * 2 * 2048} x 4 bytes",
            rated * 2 * 2 * 2048 * 4 / 1e9,
        ),
    ]
    rows = [(name, how, f"{size / 1e3:.3f}") for name, how, size in parts]
    total = math.fsum(size for _, _, size in parts) / 1e3
    return table(("what", "how", "TB"), [*rows, ("**sum**", "", f"**{total:.2f}**")])


def page(preset: Params) -> str:
    decoded = decoded_per_second()
    return (
        f"### Work of the `{preset.preset}` preset\n\n"
        f"{work(preset)}\n### Hours of pretraining\n\n"
        f"{pretraining(preset, decoded)}\n### Hours of the rest\n\n{rest(preset)}\n"
        f"### Terabytes\n\n{disk(preset)}\n### Rates measured\n\n"
        + table(
            ("rate of one core", "unit", "from"),
            [
                (f"{rate.value:.3g}", rate.unit, f"[{rate.page}](benchmarks/{rate.page})")
                for rate in MEASURED.values()
            ]
            + [(f"{decoded:.0f}", "JPEGs/s of 500 x 375", "this script")],
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    default = ROOT / "reiqa" / "presets" / "paper.yaml"
    parser.add_argument("--params", type=Path, default=default)
    parser.add_argument("--write", action="store_true", help=f"put it into {PAGE}")
    given = parser.parse_args()
    text = page(params.load_params(given.params))
    print(text)
    if given.write:
        whole = PAGE.read_text(encoding="utf-8")
        before, after = whole.split(START)[0], whole.split(END)[1]
        store.write_text(PAGE, before + START + text + END + after)


if __name__ == "__main__":
    main()
