"""What a pretraining step costs, and what of it is contrast, rendering and waiting for the disk.

Run it in a project folder whose shards (or content corpora) are there:

    python benchmarks/pretrain.py --expert quality --steps 20

    python benchmarks/pretrain.py --memory

The first tells of a step. `lightly_ratio` is the processor time of lightly's MoCo step (its head,
loss, memory bank and momentum update; the same encoder, optimiser and views) over that of ours, the
two in turn; lightly is not a dependency (benchmarks/peers.txt). `ratio` is the time of a whole step
(optimiser, queue, momentum and measures included) over that of the bare encoders on the same batch:
query forward and backward, key forward. On a GPU read `pairs_per_s`, the shares and
`peak_memory_gib`. The second needs no project: it counts the bytes of the paper's step on one of
its GPUs. `--write` puts either into docs/log/benchmarks/pretrain.md; JSON is printed anyway.
"""

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from ratios import Ratio, add_option, put
from torch import Tensor, nn

from reiqa import devices, encoders, params
from reiqa.pretrain import distributed, loop, moco, optimizers
from reiqa.pretrain.views import Views, view_source

Result = TypeVar("Result")

PAGE = Path(__file__).parents[1] / "docs" / "log" / "benchmarks" / "pretrain.md"

#: The paper's: 630 photographs x 2 scales x 12 versions over 18 GPUs, crops of 160 pixels.
PAIRS, PATCH = 840, 160

LAYOUT = torch.channels_last


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--params", type=Path, default=Path("params.yaml"))
    options.add_argument("--expert", choices=params.EXPERTS, default="quality")
    options.add_argument("--steps", type=int, default=20)
    options.add_argument("--memory", action="store_true")
    options.add_argument("--write", action="store_true")
    add_option(options)
    chosen = options.parse_args()
    if chosen.memory:
        told("memory", [counted(bf16) for bf16 in (False, True)], chosen.write)
        return
    settings = params.load_params(chosen.params)
    with devices.device(settings.compute) as device:
        source = view_source(chosen.expert, settings)
        run = loop.PretrainingRun(
            chosen.expert, settings, source, device, distributed.DistContext()
        )
        row = measured(run, chosen.steps)
        told("step", [row], chosen.write)
        found = []
        if row["lightly_ratio"] is not None:
            what = f"steps a second, {row['backbone']}, {row['device']}"
            found = [Ratio(what, float(str(row["lightly_ratio"])), "lightly's MoCo step")]
        put(chosen, found)


def measured(run: loop.PretrainingRun, steps: int) -> dict[str, object]:
    """Take ``steps`` steps after three to warm up, and tell where the time went."""
    waits, renders, learns, bares, ratios = [], [], [], [], []
    peer = lightly_step(run)
    loaded = iter(run.load_batches())
    for number in range(steps + 3):
        wait, read = timed(lambda: next(loaded), run.device)
        render, views = timed(lambda read=read: run.source.render(read, run.device), run.device)
        bare, _ = timed(lambda v=views: encoders_alone(run, v.query, v.key), run.device)
        start = time.process_time()
        learn, _ = timed(lambda v=views: run.read_metrics(run.launch_step(v)), run.device)
        own = time.process_time() - start
        if peer is not None:
            start = time.process_time()
            theirs, _ = timed(lambda v=views: peer(v), run.device)
            if run.device.type == "cpu":  # other work on the machine disturbs this time less
                ratio = (time.process_time() - start) / own
            else:
                ratio = theirs / learn
        if number >= 3:
            if peer is not None:
                ratios.append(ratio)
            waits.append(wait)
            renders.append(render)
            learns.append(learn)
            bares.append(bare)
    parts = {"wait": sum(waits), "render": sum(renders), "step": sum(learns)}
    whole = sum(parts.values())
    pairs = run.settings.batch_size * run.source.pairs
    gpu = run.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name()
        if gpu
        else f"CPU, {torch.get_num_threads()} threads",
        "backbone": run.moco.query.encoder.backbone,
        "pairs_per_step": pairs,
        "pairs_per_s": round(steps * pairs / whole, 1),
        "share": {name: round(seconds / whole, 3) for name, seconds in parts.items()},
        "step_s": round(statistics.median(learns), 4),
        "bare_s": round(statistics.median(bares), 4),
        "ratio": round(statistics.median(a / b for a, b in zip(learns, bares, strict=True)), 3),
        "lightly_ratio": round(statistics.median(ratios), 3) if ratios else None,
        "peak_memory_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2) if gpu else None,
    }


def lightly_step(run: loop.PretrainingRun) -> Callable[[Views], None] | None:
    """Return a MoCo step of lightly's parts, as its documentation puts them together, or None."""
    try:
        from lightly.loss import NTXentLoss
        from lightly.models.modules import MoCoProjectionHead
        from lightly.models.utils import (
            batch_shuffle,
            batch_unshuffle,
            deactivate_requires_grad,
            update_momentum,
        )
    except ImportError:
        return None
    settings, encoder = run.settings, run.moco.query.encoder
    head = MoCoProjectionHead(encoder.width, encoder.width, settings.projection_dim)
    query = nn.Sequential(copy.deepcopy(encoder), head).to(run.device)
    query.to(memory_format=LAYOUT)
    key = copy.deepcopy(query)
    deactivate_requires_grad(key)
    bank = (settings.queue_size, settings.projection_dim)
    criterion = NTXentLoss(settings.temperature, memory_bank_size=bank).to(run.device)
    optimizer = optimizers.build_optimizer(settings, query, 1e-3)

    def step(views: Views) -> None:
        update_momentum(query, key, settings.momentum)
        with run.precision():
            queries = query(run.to_batch(views.query))
            with torch.no_grad():
                shuffled, order = batch_shuffle(run.to_batch(views.key))
                keys = batch_unshuffle(key(shuffled), order)
        loss = criterion(queries.float(), keys.float())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        loss.item()  # a loop logs it, and ours reads its metrics

    return step


def counted(bf16: bool) -> dict[str, object]:
    """Count what the paper's step holds on one of its 18 GPUs.

    Bytes that autograd saves grow by the same amount with each pair; two small batches tell it.
    """
    torch.manual_seed(0)
    settings = params.TrainingParams(epochs=1, batch_size=1)
    models = moco.MoCo(encoders.build_encoder("resnet50", "quality"), settings, 0)
    small, large = (saved_bytes(models.query, count, bf16) for count in (2, 4))
    pair = (large - small) // 2
    weights = sum(p.numel() * 4 for p in models.query.parameters())
    # Query, its gradient, LARS' momentum, the key encoder; queue; views of query and key.
    kept = 4 * weights + models.queue.numel() * 4 + 2 * PAIRS * 3 * PATCH**2 * 4
    return {
        "encoders in": "bf16" if bf16 else "float32",
        "MiB a pair": round(pair / 2**20, 1),
        "GiB saved for 840 pairs": round((small + (PAIRS - 2) * pair) / 2**30, 1),
        "GiB of weights, optimizer, queue, views": round(kept / 2**30, 1),
        "GiB in all": round((small + (PAIRS - 2) * pair + kept) / 2**30, 1),
    }


def saved_bytes(model: nn.Module, pairs: int, bf16: bool) -> int:
    """Count the bytes that autograd keeps of a forward pass, each storage once, weights not."""
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(value: Tensor) -> Tensor:
        if value.untyped_storage().data_ptr() not in own:
            kept[value.untyped_storage().data_ptr()] = value
        return value

    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value),
        torch.autocast("cpu", torch.bfloat16, enabled=bf16),
    ):
        out = model(torch.rand(pairs, 3, PATCH, PATCH).contiguous(memory_format=LAYOUT))
    assert out.requires_grad
    return sum(value.untyped_storage().nbytes() for value in kept.values())


def told(part: str, rows: list[dict[str, object]], write: bool) -> None:
    """Print rows, and put them as a table between the marks of that part of the page."""
    print(json.dumps(rows, indent=2))
    if not write:
        return
    start, end = f"<!-- {part} -->\n", f"<!-- /{part} -->"
    lines = [" | ".join(map(str, line)) for line in (rows[0], *(row.values() for row in rows))]
    lines.insert(1, " | ".join(["---"] * len(rows[0])))
    table = "".join(f"| {line} |\n" for line in lines)
    text = PAGE.read_text(encoding="utf-8")
    before, after = text.split(start)[0], text.split(end)[1]
    PAGE.write_text(before + start + table + end + after, encoding="utf-8")


def encoders_alone(run: loop.PretrainingRun, query: Tensor, key: Tensor) -> None:
    """Do what no contrastive step can do without; leaves no gradient behind."""
    with run.precision():
        run.query(run.to_batch(query)).embeddings.sum().backward()
        with torch.no_grad():
            run.moco.key(run.to_batch(key))
    run.optimizer.zero_grad(set_to_none=True)


def timed(work: Callable[[], Result], device: torch.device) -> tuple[float, Result]:
    start = time.perf_counter()
    result = work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start, result


if __name__ == "__main__":
    main()
