"""Verbs for a project: preset, status and doctor."""

from pathlib import Path
from typing import Annotated

import typer

from reiqa import layout, text
from reiqa.cli.options import ParamsFile, require_rated_dataset
from reiqa.errors import BadInputError
from reiqa.progress import log


def preset(
    name: Annotated[str, typer.Argument(help="demo, biq2021, paper or bundle.")],
    bundle: Annotated[
        str | None,
        typer.Option(help="For the preset bundle: name or folder of the bundle; default: lite."),
    ] = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            help="For the preset bundle: a rated dataset, may be given several times; default: all"
            " of datasets.yaml."
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write.")] = layout.PARAMS,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a modified file.")] = False,
) -> None:
    """Write a preset to params.yaml.

    The preset `bundle` uses the experts of a bundle, without pretraining, on your own ratings.

    Example: `reiqa preset biq2021`
    """
    from reiqa import presets, store

    texts = presets.shipped_presets()
    if name not in (*texts, presets.BUNDLE):
        allowed = ", ".join(sorted((*texts, presets.BUNDLE)))
        raise BadInputError(f"preset {name!r}: no such preset; allowed: {allowed}")
    remarks: list[str] = []
    if name == presets.BUNDLE:
        datasets = _datasets_of_preset(dataset or [])
        found = presets.open_bundle(bundle or "lite")
        texts[name] = presets.bundle_preset(found, datasets)
        remarks = presets.resize_remarks(found, datasets)
    elif bundle or dataset:
        raise BadInputError(f"preset {name}: --bundle and --dataset are for: reiqa preset bundle")
    store.check_target(out)
    ours = {each.encode() for each in texts.values()}
    if out.exists() and not force and out.read_bytes() not in ours:
        raise BadInputError(f"{out}: the file has been modified; pass --force to overwrite it")
    store.write_text(store.link_target(out), texts[name])
    log(f"{out}: preset {name} written")
    for remark in remarks:
        log(remark)


def _datasets_of_preset(named: list[str]) -> list[str]:
    """Return the datasets of the preset ``bundle``: by default all rated ones of the project."""
    from reiqa import catalog

    for name in named:
        require_rated_dataset(name)
    own = [name for name in catalog.project_names() if name in catalog.rated_names()]
    if not named and not own:
        raise BadInputError(
            "preset bundle: no dataset: add one with reiqa datasets add, or pass --dataset"
        )
    return list(dict.fromkeys(named or own))


def status(
    everything: Annotated[
        bool, typer.Option("--all", help="List up-to-date artifacts too.")
    ] = False,
    file: ParamsFile = layout.PARAMS,
) -> None:
    """List artifacts that are stale or missing, with the reason.

    Example: `reiqa status`
    """
    from reiqa import pipeline

    found = pipeline.status(pipeline.load_params(file))
    shown = [(str(path), why or "up to date") for path, why in found if why or everything]
    if shown:
        typer.echo(text.align_columns(("artifact", "state"), shown))
    stale = sum(bool(why) for _, why in found)
    typer.echo(f"{len(found) - stale} of {len(found)} artifacts are up to date")


def doctor(
    results: Annotated[
        bool, typer.Option("--results", help="Check the lineage of the results.")
    ] = False,
    precision: Annotated[
        bool, typer.Option("--precision", help="Measure what bf16 gains on this processor.")
    ] = False,
    file: ParamsFile = layout.PARAMS,
) -> None:
    """Check the installation and the hardware of this machine.

    Example: `reiqa doctor --results`
    """
    from reiqa import doctor as checks

    if precision:
        checks.print_bf16()
        return
    passed = checks.check_lineage(layout.ALL_SRCC) if results else checks.check_environment(file)
    raise typer.Exit(0 if passed else 1)
