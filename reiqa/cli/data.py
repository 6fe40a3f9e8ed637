"""Verbs for data: datasets, fetch, index, distort and chunks."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from reiqa import layout, text
from reiqa.cli.exit_codes import EXPECTED, message_and_code
from reiqa.cli.options import Dataset, Force, Mirror, ParamsFile
from reiqa.errors import BadInputError
from reiqa.progress import log


def datasets(
    context: typer.Context,
    form: Annotated[
        Literal["table", "json"], typer.Option("--format", help="Output format.")
    ] = "table",
) -> None:
    """List all datasets and corpora with state, size, licence and the next command to run.

    Example: `reiqa datasets --format json`
    """
    if context.invoked_subcommand:
        return
    from reiqa.data import status

    rows = status.status_table()
    typer.echo(status.as_json(rows) if form == "json" else status.as_text(rows))


def datasets_add(
    folder: Annotated[Path, typer.Argument(help="Folder of the images; it stays where it is.")],
    ratings: Annotated[
        Path | None,
        typer.Option(help="Table with one row per image; without one, the images are a corpus."),
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the dataset; default: the folder's.")] = "",
    score: Annotated[
        str, typer.Option(help="Column of the ratings; default: the one whose name says so.")
    ] = "",
) -> None:
    """Describe a folder of your own images in datasets.yaml, after looking at them.

    Columns, rating scale and direction are found in the table and printed.

    Example: `reiqa datasets add my-photos --ratings my-photos/ratings.csv`
    """
    from reiqa import catalog
    from reiqa.data import add_dataset

    if ratings is None and score:
        raise BadInputError("datasets add: --score needs a table; pass it with --ratings")
    new = add_dataset.describe_folder(folder, ratings, name, score)
    add_dataset.add_entry(new)
    heads = (new.name, f"added to {catalog.PROJECT_FILE}")
    typer.echo(text.align_columns(heads, list(new.findings.items())))
    if line := add_dataset.watch_with_dvc(new):
        typer.echo(line)
    typer.echo("\nNext:")
    for command in add_dataset.next_commands(new):
        typer.echo(f"  {command}")


def fetch(
    dataset: Annotated[list[str], typer.Option("--dataset", help="May be given several times.")],
    mirror: Mirror = None,
    file: ParamsFile = layout.PARAMS,
    force: Force = False,
) -> None:
    """Download datasets, or copy them from a mirror, and unpack them to data/raw.

    Several datasets are fetched in parallel. One that fails does not stop the others.

    Example: `reiqa fetch --dataset koniq10k --dataset csiq --mirror /mnt/iqa`
    """
    from reiqa import pipeline

    failed = pipeline.fetch(dataset, pipeline.load_params(file), mirror, force)
    for error in failed:
        if not isinstance(error, EXPECTED):
            raise error
    endings = dict(message_and_code(error) for error in failed)
    for message in endings:
        log(message)
    if endings:
        raise typer.Exit(min(endings.values()))


def index(
    dataset: Dataset,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Index existing images and report missing ones.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read the header of every image.")
    ] = False,
    file: ParamsFile = layout.PARAMS,
    force: Force = False,
) -> None:
    """Match images and ratings, and write the checked table data/index/NAME.csv.

    Example: `reiqa index --dataset koniq10k --verify`
    """
    from reiqa import pipeline

    pipeline.index(dataset, pipeline.load_params(file), allow_missing, verify, force)


def distort(
    image: Annotated[Path | None, typer.Argument(help="A photograph.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Image file to write.")] = Path(
        "gallery.jpg"
    ),
    listing: Annotated[bool, typer.Option("--list", help="Print the bank as a table.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of random distortions.")] = 0,
    file: ParamsFile = layout.PARAMS,
) -> None:
    """Draw every distortion type at each of its five levels, applied to one photograph.

    Example: `reiqa distort photo.jpg -o gallery.jpg`
    """
    from reiqa import pipeline
    from reiqa.distortions import gallery, resolve
    from reiqa.params import BankParams

    if listing:
        heads = ("type", "family", *"12345", "parameter", "margin", "source")
        typer.echo(text.align_columns(heads, gallery.bank_table()))
        return
    if image is None:
        raise BadInputError("distort: no photograph given; name one, or use --list")
    # Outside a project, use the published bank. A parameter file named by the user must exist.
    named = file.exists() or file != layout.PARAMS
    bank = pipeline.load_params(file).bank if named else BankParams()
    gallery.draw_gallery(image, out, resolve(bank), seed)
    log(f"{out}: written")


def chunks(
    corpus: Annotated[
        str | None, typer.Option(help="Name of a corpus (see: reiqa datasets).")
    ] = None,
    shard: Annotated[
        str, typer.Option(help="Only this shard, from 0; I/N also checks that there are N.")
    ] = "",
    show: Annotated[int | None, typer.Option(help="Draw this chunk as an image instead.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Image file to write.")] = Path(
        "chunk.png"
    ),
    verify: Annotated[bool, typer.Option("--verify", help="Verify the shards instead.")] = False,
    file: ParamsFile = layout.PARAMS,
    force: Force = False,
) -> None:
    """Cut a corpus into windows and distortion recipes, from which pretraining renders chunks.

    Example: `reiqa chunks --corpus demo_corpus --shard 0`
    """
    from reiqa import pipeline
    from reiqa.stages import STAGES, shards

    if show is not None and verify:
        raise BadInputError("chunks: --show and --verify are mutually exclusive; use one of them")
    params = pipeline.load_params(file)
    corpus = corpus or next(iter(params.chunks.corpora), None)
    if corpus is None:
        raise BadInputError(f"{file}: chunks.corpora is empty; pass --corpus")
    items = shards(params, corpus)
    paths = [STAGES["chunks"].path(item) for item in items]
    if show is not None:
        from reiqa.chunks import show as pictures  # imports matplotlib

        pictures.draw_chunk(paths, show, out)
        log(f"{out}: written")
        return
    numbers = _shard_numbers(shard, len(items))
    if verify:
        _verify([paths[number] for number in numbers])
        return
    for number in numbers:
        pipeline.run_stage("chunks", params, items[number], force)


def _shard_numbers(given: str, count: int) -> list[int]:
    if not given:
        return list(range(count))
    number, _, of = given.partition("/")
    if not number.isdecimal() or int(number) >= count or of not in ("", str(count)):
        raise BadInputError(f"--shard {given}: invalid; allowed: 0 to {count - 1}")
    return [int(number)]


def _verify(paths: list[Path]) -> None:
    """Verify each shard; check all of them even if some are corrupted."""
    from reiqa.chunks import shards

    faults: dict[Path, BadInputError] = {}
    for path in paths:
        try:
            typer.echo(f"{path}: {shards.verify_shard(path)} windows, verified")
        except BadInputError as fault:
            faults[path] = fault
    if faults:
        first, *others = faults
        also = f"; also {', '.join(path.name for path in others)}" if others else ""
        raise BadInputError(f"{faults[first]}{also}")
