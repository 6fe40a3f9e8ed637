"""Verbs from names to windows: fetch, index, the bank, chunks."""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from reiqa import layout, store, text
from reiqa import params as parameters
from reiqa.cli.ending import EXPECTED, ending
from reiqa.cli.given import Dataset, Force, Mirror, ParamsFile, bound, known_set, load
from reiqa.errors import BadInputError
from reiqa.identity import under
from reiqa.progress import say


def datasets(
    form: Annotated[
        Literal["table", "json"], typer.Option("--format", help="How it is printed.")
    ] = "table",
) -> None:
    """List every dataset and corpus: here or not, how large, under which licence, what to do next.

    Example: `reiqa datasets --format json`
    """
    from reiqa.data import status

    rows = status.status_table()
    typer.echo(status.as_json(rows) if form == "json" else status.as_text(rows))


def fetch(
    dataset: Annotated[list[str], typer.Option("--dataset", help="May be given several times.")],
    mirror: Mirror = None,
    file: ParamsFile = layout.PARAMS,
    force: Force = False,
) -> None:
    """Download datasets or corpora, or copy them from a mirror, check them, unpack to data/raw.

    Several are brought at once; one that fails does not stop the others.

    Example: `reiqa fetch --dataset koniq10k --dataset csiq --mirror /mnt/iqa`
    """
    from reiqa.data import fetch as fetching
    from reiqa.data.several import each

    params = load(file)
    names = list(dict.fromkeys(dataset))
    for name in names:
        known_set(name)

    def bring(name: str) -> None:
        work = bound(fetching.fetch, name, mirror, force)
        path, folder = layout.receipt(name), layout.raw(name)
        anew = force or not fetching.stands(name)
        store.make(path, "fetch", name, under(params), [], work, anew, [folder])

    failed = [error for job in each(bring, names, fetching.AT_ONCE) if (error := job.exception())]
    for error in failed:
        if not isinstance(error, EXPECTED):
            raise error
    endings = dict(ending(error) for error in failed)
    for message in endings:
        say(message)
    if endings:
        raise typer.Exit(min(endings.values()))


def index(
    dataset: Dataset,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Index what is there, and say what is not.")
    ] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Read every image's header.")] = False,
    file: ParamsFile = layout.PARAMS,
    force: Force = False,
) -> None:
    """Line up images and ratings into one checked table, data/index/NAME.csv.

    Example: `reiqa index --dataset koniq10k --verify`
    """
    from reiqa.data import index as indexing

    params = load(file)
    known_set(dataset)
    if allow_missing:
        # Recorded as what it was: the next run under params.yaml must not take it for its own.
        tolerant = params.data.model_copy(update={"allow_missing": True})
        params = params.model_copy(update={"data": tolerant})
    work = bound(indexing.build, dataset, params.data.allow_missing, verify)
    sources = [layout.receipt(dataset)]
    store.make(layout.index(dataset), "index", dataset, under(params), sources, work, force)


def index_anew(name: str, file: Path) -> None:
    """Bring and index a set that is not here, from the mirror of the environment if one is set."""
    mirror = os.environ.get("REIQA_MIRROR")
    fetch([name], mirror=Path(mirror) if mirror else None, file=file)
    index(name, file=file)


def distort(
    image: Annotated[Path | None, typer.Argument(help="A photograph.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture to write.")] = Path(
        "gallery.png"
    ),
    listing: Annotated[bool, typer.Option("--list", help="Print the bank as a table.")] = False,
    seed: Annotated[int, typer.Option(help="Of the random types.")] = 0,
    file: ParamsFile = layout.PARAMS,
) -> None:
    """Show the whole bank on one photograph: every type at each of its five levels.

    Example: `reiqa distort photo.jpg -o gallery.png`
    """
    from reiqa.distortions import gallery

    if listing:
        heads = ("type", "family", *"12345", "parameter", "margin", "source")
        typer.echo(text.aligned(heads, gallery.table()))
        return
    if image is None:
        raise BadInputError("distort: name a photograph, or ask for --list")
    from reiqa.distortions import resolve

    # Without a project the published bank is shown; a file that was named must be there.
    named = file.exists() or file != layout.PARAMS
    bank = load(file).bank if named else parameters.Bank()
    gallery.gallery(image, out, resolve(bank), seed)
    say(f"{out}: written")


def chunks(
    corpus: Annotated[str | None, typer.Option(help="A corpus of: reiqa datasets.")] = None,
    shard: Annotated[str, typer.Option(help="Only shard I of N, as I/N; I counts from 0.")] = "",
    show: Annotated[int | None, typer.Option(help="Draw this chunk as a picture instead.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture.")] = Path("chunk.png"),
    verify: Annotated[
        bool, typer.Option("--verify", help="Check every byte of the shards instead.")
    ] = False,
    file: ParamsFile = layout.PARAMS,
    force: Force = False,
) -> None:
    """Cut a corpus into windows with recipes, from which pretraining renders its chunks.

    Example: `reiqa chunks --corpus demo_corpus --shard 0/2`
    """
    from reiqa import chunks as cutting
    from reiqa.chunks import shards

    if show is not None and verify:
        raise BadInputError("chunks: --show and --verify do different things; give one of them")
    params = load(file)
    corpus = corpus or params.chunks.corpora[0]
    paths = cutting.paths(corpus, params.chunks)
    if show is not None:
        from reiqa.chunks import show as showing

        showing.show(paths, show, out)
        say(f"{out}: written")
        return
    numbers = _shard_numbers(shard, len(paths))
    if verify:
        _verify([paths[number] for number in numbers])
        return
    for number in numbers:
        work = bound(shards.write, corpus, number, len(paths), params)
        store.make(
            paths[number], "chunks", corpus, under(params), [layout.index(corpus)], work, force
        )


def _shard_numbers(given: str, count: int) -> list[int]:
    if not given:
        return list(range(count))
    number, _, of = given.partition("/")
    if not (number.isdecimal() and of.isdecimal() and int(of) == count and int(number) < count):
        raise BadInputError(f"--shard {given}: allowed here: 0/{count} to {count - 1}/{count}")
    return [int(number)]


def _verify(paths: list[Path]) -> None:
    """Say of each shard whether it is whole; one that is not does not hide the next."""
    from reiqa.chunks import shards

    faults: dict[Path, BadInputError] = {}
    for path in paths:
        try:
            typer.echo(f"{path}: {shards.verify(path)} windows, all as written")
        except BadInputError as fault:
            faults[path] = fault
    if faults:
        first, *others = faults
        also = f"; likewise {', '.join(path.name for path in others)}" if others else ""
        raise BadInputError(f"{faults[first]}{also}")
