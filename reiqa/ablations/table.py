"""The table of a matrix: CSV for programs, Markdown for people."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reiqa import store, text
from reiqa.ablations.matrix import BASE, Matrix
from reiqa.params import Params

PROBES = ("type_accuracy", "level_srcc", "distance_srcc")

HEAD = (
    "factor",
    "value",
    "srcc",
    "srcc_std",
    *PROBES,
    *(f"untrained_{name}" for name in PROBES),
    "steps",
    "pairs_per_step",
    "images",
    "splits",
    "seconds",
    "folder",
)

Row = Mapping[str, Any]


def write(path: Path, rows: Sequence[Row]) -> None:
    """Write the rows as CSV; what has no value is empty."""
    store.write_text(path, text.format_csv(HEAD, ([row.get(name) for name in HEAD] for row in rows)))


def page(matrix: Matrix, rows: Sequence[Row]) -> str:
    """Return the table as a page that says what was run."""
    base = rows[0]
    untrained = ", ".join(_three(base[f"untrained_{name}"]) for name in PROBES)
    lines = [
        "# Ablations",
        "",
        f"Written by `reiqa ablate --matrix {matrix.name} --write docs/ablations.md`; "
        "one thing is changed at a time, and the quality expert trained anew for each row.",
        "",
        *_setting(matrix.cells[0].params, base),
        "",
        "SRCC is the quality expert's alone on the test parts: median over splits, standard "
        "deviation over splits beside it. The splits are the same for all rows. The probe asks the "
        "frozen encoder for the type of a distortion (share named rightly), for its level, and "
        f"whether features move further the worse it is; untrained weights give {untrained}. "
        f"Seconds are processor seconds of a cell; all took "
        f"{sum(row['seconds'] for row in rows) / 60:.0f} minutes of one core.",
        "",
        *_beyond_chance(rows),
        "One cell by itself, with the whole pipeline behind it: `dvc exp run -S chunks.n_aug=3`, "
        "then `dvc exp show`.",
        "",
        "| changed | SRCC | of splits | against base | type | level | distance | pairs a step "
        "| steps | s |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(_line(row, base) for row in rows),
        "",
    ]
    return "\n".join(lines)


def _beyond_chance(rows: Sequence[Row]) -> list[str]:
    """Say which rows differ from the base by more than runs do that differ in the seed alone."""
    there = [row for row in rows if row["srcc"] is not None]
    alike = [row["srcc"] for row in there if row["factor"] in (BASE, "seed")]
    if len(alike) < 2:
        return []
    chance = max(alike) - min(alike)
    others = [row for row in there if row["factor"] not in (BASE, "seed")]
    beyond = [
        f"`{row['factor']}: {row['value']}`"
        for row in others
        if not min(alike) - chance <= row["srcc"] <= max(alike) + chance
    ]
    told = ", ".join(beyond) if beyond else "none"
    return [
        f"**Chance**: {len(alike)} runs with other seeds lie {chance:.3f} apart in SRCC. "
        f"Further than that from all of them: {told} of {len(others)} changes. "
        "A difference within it says nothing.",
        "",
    ]


def _setting(params: Params, base: Row) -> list[str]:
    chunks, training = params.chunks, params.quality.training
    assert training is not None  # the matrix checks it
    return [
        f"- judged on: {base['images']} images of {params.datasets[0]}, {base['splits']} splits",
        f"- learnt from: {', '.join(chunks.corpora)}, {chunks.draws} windows a photograph",
        f"- base: {params.quality.backbone}, patch {chunks.patch}, n_aug {chunks.n_aug}, overlap "
        f"{chunks.ola[0]:g}-{chunks.ola[1]:g}, scales {', '.join(f'{s:g}' for s in chunks.scales)},"
        f" swap {'on' if chunks.swap else 'off'}, negatives {training.negatives},"
        f" {training.images} photographs a step, {training.epochs} epochs",
    ]


def _line(row: Row, base: Row) -> str:
    name = "(base)" if row["factor"] == BASE else f"`{row['factor']}: {row['value']}`"
    against = ""
    if row is not base and None not in (row["srcc"], base["srcc"]):
        against = f"{row['srcc'] - base['srcc']:+.3f}"
    cells = [
        name,
        _three(row["srcc"]),
        _three(row["srcc_std"]),
        against,
        *(_three(row[probe]) for probe in PROBES),
        *(str(row[count]) for count in ("pairs_per_step", "steps", "seconds")),
    ]
    return f"| {' | '.join(cells)} |"


def _three(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
