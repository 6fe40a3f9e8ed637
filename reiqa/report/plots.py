"""Tables for ``dvc plots``, which can compare them between commits."""

from collections.abc import Iterable, Sequence

import numpy as np

from reiqa import layout, text
from reiqa.params import EXPERTS, VARIANTS
from reiqa.report import results
from reiqa.store import write_text


def write_plot_tables(datasets: Sequence[str]) -> None:
    """Write ``predictions.csv``, ``alphas.csv`` and ``pretraining.csv`` to `layout.PLOTS`."""
    _write_table("predictions", ("dataset", "image", "rated", *VARIANTS), _predictions(datasets))
    _write_table("alphas", ("dataset", "log10_alpha", *VARIANTS), _alphas(datasets))
    _write_table("pretraining", ("step", *EXPERTS), _losses())


def _predictions(datasets: Sequence[str]) -> Iterable[Sequence[str | float]]:
    for name in datasets:
        found = results.read_predictions(name)
        columns = [found.rated, *(found.predicted[variant] for variant in VARIANTS)]
        for image, *values in zip(found.images, *columns, strict=True):
            yield name, image, *values


def _alphas(datasets: Sequence[str]) -> Iterable[Sequence[str | float]]:
    for name in datasets:
        paths = results.read_alphas(name)
        columns = [paths[variant][1] for variant in VARIANTS]
        for alpha, *values in zip(paths[VARIANTS[0]][0], *columns, strict=True):
            yield name, float(np.log10(alpha)), *values


def _losses() -> Iterable[Sequence[str | float]]:
    """Yield a row for each step of any expert; the field of a finished expert is empty."""
    curves = [results.read_curve(expert) for expert in EXPERTS]
    losses = [dict(zip(c["step"], c["loss"], strict=True)) if c else {} for c in curves]
    for step in sorted(set().union(*losses)):
        yield int(step), *(loss.get(step, np.nan) for loss in losses)


def _write_table(name: str, head: Sequence[str], rows: Iterable[Sequence[str | float]]) -> None:
    write_text(
        layout.PLOTS / f"{name}.csv", text.format_csv(head, (map(_cell, row) for row in rows))
    )


def _cell(value: str | float) -> str | float:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.6g}"
    return value
