"""Verbs from photographs to tables: features, fit, cross, report."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from reiqa import layout, store
from reiqa.cli.data import index_anew
from reiqa.cli.given import Dataset, Force, ParamsFile, bound, load, rated_set
from reiqa.errors import BadInputError
from reiqa.identity import under
from reiqa.params import EXPERTS, ExpertName
from reiqa.progress import say


def features(
    dataset: Annotated[str | None, typer.Option(help="A rated set of: reiqa datasets.")] = None,
    images: Annotated[Path | None, typer.Option(help="Any folder of images instead.")] = None,
    expert: Annotated[ExpertName | None, typer.Option(help="Both if not given.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="With --images.")] = Path("features.h5"),
    strict: Annotated[bool, typer.Option("--strict", help="Stop at an unreadable image.")] = False,
    file: ParamsFile = layout.PARAMS,
    force: Force = False,
) -> None:
    """Turn images into features with the frozen experts, cached as HDF5.

    What the dataset still lacks (photographs, index) is made first; the experts must be there.

    Example: `reiqa features --dataset demo`
    """
    from reiqa import features as extraction

    params = load(file)
    wanted: list[ExpertName] = [expert] if expert else list(EXPERTS)
    if (dataset is None) == (images is None):
        raise BadInputError("features: give either --dataset NAME or --images DIR")
    for name in wanted:
        if not layout.model(name).exists():
            raise BadInputError(
                f"{layout.model(name)}: not made yet; run: {layout.verb(layout.model(name))}"
            )
    if images is not None:
        with store.locked(store.WORK / "features" / "folder"):
            store.sweep(out)
            extraction.extract_folder(images, wanted, params, out, strict)
        say(f"{out}: written")
        return
    assert dataset is not None
    rated_set(dataset)
    if not layout.index(dataset).exists():
        index_anew(dataset, file)
    freshness = store.Freshness(under(params))
    stale = [name for name in wanted if not freshness.fresh(layout.features(dataset, name))]
    if len(stale) > 1:
        # In one pass each image is decoded once for both; below each takes its rows from there.
        with ExitStack() as held:
            for name in stale:
                held.enter_context(store.locked(layout.features(dataset, name)))
            extraction.prepare(dataset, stale, params, strict)
    for name in wanted:
        path = layout.features(dataset, name)
        inputs = [layout.index(dataset), layout.model(name)]
        work = bound(extraction.extract, dataset, name, params, strict)
        # A cache with error rows is what a run that may not have any must not find up to date.
        anew = force or (strict and extraction.flawed(path))
        store.make(path, "features", f"{dataset}/{name}", under(params), inputs, work, anew)


def fit(
    dataset: Dataset,
    splits: Annotated[Path | None, typer.Option(help="A table of splits of your own.")] = None,
    file: ParamsFile = layout.PARAMS,
    force: Force = False,
) -> None:
    """Fit the regressor of a dataset by the protocol, and measure it.

    Example: `reiqa fit --dataset demo`
    """
    from reiqa import regression

    params = recorded = load(file)
    rated_set(dataset)
    if splits is not None:
        # Recorded as what it was: the next run under params.yaml must not take it for its own.
        if not splits.is_file():
            raise BadInputError(f"{splits}: no such file")
        given = params.regression.model_copy(
            update={"protocol": f"{splits.name} {store.file_digest(splits)}"}
        )
        recorded = params.model_copy(update={"regression": given})
    path = layout.result(dataset)
    inputs = layout.fitted_on(dataset, *params.copies())
    beside = [layout.beside(path, kind) for kind in layout.FITTED]
    work = bound(regression.fit, dataset, params, splits)
    store.make(path, "fit", dataset, under(recorded), inputs, work, force, beside)


def cross(file: ParamsFile = layout.PARAMS, force: Force = False) -> None:
    """Train on each dataset, test on each other: results/cross.csv.

    Example: `reiqa cross`
    """
    from reiqa import regression

    params = load(file)
    inputs = [*map(layout.result, params.datasets), *layout.fitted_on(*params.seen())]
    store.make(
        layout.CROSS, "cross", "", under(params), inputs, bound(regression.cross, params), force
    )


def report(file: ParamsFile = layout.PARAMS, force: Force = False) -> None:
    """Gather all results into results/all_srcc.csv and one page, results/report.html.

    Example: `reiqa report`
    """
    from reiqa import report as reporting

    params = load(file)
    results = [layout.result(name) for name in params.datasets]
    inputs = [*results, layout.CROSS, *(layout.model(name) for name in EXPERTS), layout.PROBE]
    work = bound(reporting.write, params)
    store.make(layout.ALL_SRCC, "report", "", under(params), inputs, work, force, layout.REPORTED)
    typer.echo(reporting.table_text())
    typer.echo(f"Table:  {layout.ALL_SRCC}\nReport: {layout.REPORT.absolute().as_uri()}")
