"""The verbs of ``reiqa``: each reads params.yaml, calls one function, writes one kind of file.

Nothing heavy is imported here at the top: ``reiqa --help`` must answer at once.
"""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer
from typer.core import TyperGroup

from reiqa import layout, progress, store, text
from reiqa import params as parameters
from reiqa.errors import BadInputError, WorkFailedError
from reiqa.params import EXPERTS, ExpertName, Params
from reiqa.progress import say


class _Verbs(TyperGroup):
    """A group of verbs that explains itself when none is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args or ["--help"])


app = typer.Typer(
    cls=_Verbs,
    help="Blind image quality assessment with two self-supervised experts (Re-IQA, CVPR 2023).",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
weights = typer.Typer(cls=_Verbs, help="Bring in weights that others have published.")
app.add_typer(weights, name="weights")

# The root of click's usage errors; typer has its own copy of click, and had not always.
_UsageError: Any = typer.BadParameter.__bases__[0]

# What is told in a line; anything else is a fault of this program, and shows where.
_EXPECTED = (BadInputError, WorkFailedError, OSError)


ParamsFile = Annotated[Path, typer.Option("--params", help="The parameter file.")]
Dataset = Annotated[str, typer.Option("--dataset", help="A name of: reiqa datasets.")]
Force = Annotated[bool, typer.Option("--force", help="Make it anew even if it is up to date.")]
Mirror = Annotated[
    Path | None,
    typer.Option("--mirror", envvar="REIQA_MIRROR", help="Folder to look in before any download."),
]


@app.command()
def preset(
    name: Annotated[str, typer.Argument(help="demo, biq2021 or paper.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write it.")] = layout.PARAMS,
    force: Annotated[bool, typer.Option("--force", help="Even over a file you changed.")] = False,
) -> None:
    """Write a preset to params.yaml.

    Example: `reiqa preset biq2021`
    """
    folder = Path(__file__).parent / "presets"
    texts = {file.stem: file.read_text(encoding="utf-8") for file in folder.glob("*.yaml")}
    if name not in texts:
        raise BadInputError(f"preset {name!r}: no such preset; allowed: {', '.join(sorted(texts))}")
    if out.exists() and not force and out.read_text(encoding="utf-8") not in texts.values():
        raise BadInputError(f"{out}: holds changes of your own; keep them, or say --force")
    store.write_text(out, texts[name])
    say(f"{out}: now the preset {name}")


@app.command()
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


@app.command()
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

    params = _load(file)
    names = list(dict.fromkeys(dataset))
    for name in names:
        _known_set(name)

    def bring(name: str) -> None:
        work = _bound(fetching.fetch, name, mirror, force)
        path, folder = layout.receipt(name), layout.raw(name)
        anew = force or not fetching.stands(name)
        store.make(path, "fetch", name, params, [], work, anew, [folder])

    failed = [error for job in each(bring, names, fetching.AT_ONCE) if (error := job.exception())]
    for error in failed:
        if not isinstance(error, _EXPECTED):
            raise error
    endings = dict(_ending(error) for error in failed)
    for message in endings:
        say(message)
    if endings:
        raise typer.Exit(min(endings.values()))


@app.command()
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

    params = _load(file)
    _known_set(dataset)
    if allow_missing:
        # Recorded as what it was: the next run under params.yaml must not take it for its own.
        tolerant = params.data.model_copy(update={"allow_missing": True})
        params = params.model_copy(update={"data": tolerant})
    work = _bound(indexing.build, dataset, params.data.allow_missing, verify)
    sources = [layout.receipt(dataset)]
    store.make(layout.index(dataset), "index", dataset, params, sources, work, force)


@app.command()
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
    bank = _load(file).bank if named else parameters.Bank()
    gallery.gallery(image, out, resolve(bank), seed)
    say(f"{out}: written")


@app.command()
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
    from reiqa.chunks import shards

    if show is not None and verify:
        raise BadInputError("chunks: --show and --verify do different things; give one of them")
    params = _load(file)
    corpus = corpus or params.chunks.corpora[0]
    _known_set(corpus)
    count = _shard_count(params, corpus)
    if show is not None:
        from reiqa.chunks import show as showing

        showing.show([layout.shard(corpus, number) for number in range(count)], show, out)
        say(f"{out}: written")
        return
    numbers = _shard_numbers(shard, count)
    if verify:
        _verify([layout.shard(corpus, number) for number in numbers])
        return
    for number in numbers:
        path = layout.shard(corpus, number)
        work = _bound(shards.write, corpus, number, count, params)
        store.make(path, "chunks", corpus, params, [layout.index(corpus)], work, force)


@app.command()
def pretrain(
    expert: Annotated[ExpertName, typer.Option(help="Which encoder.")],
    file: ParamsFile = layout.PARAMS,
    force: Force = False,
) -> None:
    """Pretrain an expert with MoCo-v2; run it again after a cut and it goes on where it stopped.

    Example: `reiqa pretrain --expert quality`
    """
    params = _load(file)
    source = params.expert(expert).source
    if source != "pretrain":
        raise BadInputError(
            f"{file}: {expert}.source is {source}, so it is not trained;"
            f" make it with: reiqa weights import --expert {expert}"
        )
    from reiqa.pretrain import pretrain as train

    if os.environ.get("RANK", "0") != "0":
        # Under torchrun the first process holds the artifact's lock; the others only help it.
        if force or not store.Freshness.under(params).fresh(layout.model(expert)):
            train(expert, params)
        return
    _make_model(
        expert, params, _training_inputs(params, expert), _bound(train, expert, params), force
    )


@app.command()
def probe(file: ParamsFile = layout.PARAMS, force: Force = False) -> None:
    """Measure what both experts know, beside random weights: models/probe.json.

    Of a distortion its type and level, and of a photograph another crop.

    Example: `reiqa probe`
    """
    from reiqa.pretrain import probing

    params = _load(file)
    inputs = [
        *(layout.model(name) for name in EXPERTS),
        *(layout.index(corpus) for corpus in params.unseen()),
    ]
    store.make(layout.PROBE, "probe", "", params, inputs, _bound(probing.write, params), force)


@weights.command("import")
def weights_import(
    expert: Annotated[ExpertName, typer.Option(help="Which encoder it becomes.")],
    checkpoint: Annotated[
        Path | None, typer.Argument(help="A published checkpoint; params.yaml's own if not given.")
    ] = None,
    file: ParamsFile = layout.PARAMS,
    force: Force = False,
) -> None:
    """Turn a checkpoint (Re-IQA, MoCo-v2, torchvision, or a step of a run here) into an expert.

    With `source: package` in params.yaml, the weights that a package ships.

    Example: `reiqa weights import quality.pth --expert quality`
    """
    from reiqa import encoders

    params = _load(file)
    section = params.expert(expert)
    if checkpoint is not None and not checkpoint.exists():
        raise BadInputError(f"{checkpoint}: no such file")
    if section.source == "pretrain" or (checkpoint and str(checkpoint) != section.file):
        wanted = checkpoint or "FILE"
        raise BadInputError(
            f"{file}: set {expert}.source to import and {expert}.file to {wanted},"
            " or the next run of the pipeline would undo this"
        )
    _make_model(expert, params, [], _bound(encoders.obtain, expert, params), force)


@weights.command("fetch")
def weights_fetch(
    name: Annotated[str, typer.Argument(help="reiqa_quality, reiqa_content or moco_v2_800ep.")],
) -> None:
    """Download a published checkpoint to data/weights, or check the one that is there.

    Example: `reiqa weights fetch moco_v2_800ep`
    """
    from reiqa.encoders import download

    typer.echo(download.fetch(name))


@app.command()
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

    params = _load(file)
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
    _rated_set(dataset)
    if not layout.index(dataset).exists():
        _index_anew(dataset, file)
    freshness = store.Freshness.under(params)
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
        work = _bound(extraction.extract, dataset, name, params, strict)
        # A cache with error rows is what a run that may not have any must not find up to date.
        anew = force or (strict and extraction.flawed(path))
        store.make(path, "features", f"{dataset}/{name}", params, inputs, work, anew)


@app.command()
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

    params = recorded = _load(file)
    _rated_set(dataset)
    if splits is not None:
        # Recorded as what it was: the next run under params.yaml must not take it for its own.
        if not splits.is_file():
            raise BadInputError(f"{splits}: no such file")
        given = params.regression.model_copy(
            update={"protocol": f"{splits.name} {store.file_digest(splits)}"}
        )
        recorded = params.model_copy(update={"regression": given})
    path = layout.result(dataset)
    inputs = _fitted_on(dataset, *params.copies())
    beside = [layout.beside(path, kind) for kind in layout.FITTED]
    work = _bound(regression.fit, dataset, params, splits)
    store.make(path, "fit", dataset, recorded, inputs, work, force, beside)


@app.command()
def cross(file: ParamsFile = layout.PARAMS, force: Force = False) -> None:
    """Train on each dataset, test on each other: results/cross.csv.

    Example: `reiqa cross`
    """
    from reiqa import regression

    params = _load(file)
    inputs = [*map(layout.result, params.datasets), *_fitted_on(*params.seen())]
    store.make(layout.CROSS, "cross", "", params, inputs, _bound(regression.cross, params), force)


@app.command()
def report(file: ParamsFile = layout.PARAMS, force: Force = False) -> None:
    """Gather all results into results/all_srcc.csv and one page, results/report.html.

    Example: `reiqa report`
    """
    from reiqa import report as reporting

    params = _load(file)
    results = [layout.result(name) for name in params.datasets]
    inputs = [*results, layout.CROSS, *(layout.model(name) for name in EXPERTS), layout.PROBE]
    work = _bound(reporting.write, params)
    store.make(layout.ALL_SRCC, "report", "", params, inputs, work, force, layout.REPORTED)
    typer.echo(reporting.table_text())
    typer.echo(f"Table:  {layout.ALL_SRCC}\nReport: {layout.REPORT.absolute().as_uri()}")


@app.command()
def bundle(
    dataset: Annotated[
        str | None, typer.Option(help="Make a bundle of the run on this rated set.")
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Its folder; the bundle is named as it is.")
    ] = Path("bundles/mine"),
    notes: Annotated[
        Path | None, typer.Option(help="A text for the card: what the scorer is bad at.")
    ] = None,
    also: Annotated[
        list[Path] | None,
        typer.Option(help="A result of the same experts by another protocol, for the card."),
    ] = None,
    onnx: Annotated[
        Path | None, typer.Option(help="Write the bundle as this ONNX file as well.")
    ] = None,
) -> None:
    """Make a scorer to give away: both experts and the regressor of a dataset, with a card.

    With --onnx alone, a bundle that is there (--out names it) becomes an ONNX file.

    Example: `reiqa bundle --dataset biq2021 --out bundles/mine`
    """
    if dataset is None and onnx is None:
        raise BadInputError("bundle: name the rated set of a finished run with --dataset")
    if notes is not None and not notes.is_file():
        raise BadInputError(f"{notes}: no such file")
    from reiqa.scoring import making

    if dataset is not None:
        _rated_set(dataset)
        with store.locked(out):
            typer.echo(making.make(dataset, out, notes, also or []).identity)
    if onnx is not None:
        from reiqa.scoring import Scorer
        from reiqa.scoring.onnx import export

        export(Scorer.load(out), onnx)
        say(f"{onnx}: written")


@app.command()
def score(
    paths: Annotated[
        list[str],
        typer.Argument(help="Files, folders, patterns; - for a list on standard input."),
    ],
    bundle: Annotated[str, typer.Option(help="A bundle's name or folder.")] = "lite",
    form: Annotated[
        Literal["table", "csv", "jsonl"] | None,
        typer.Option("--format", help="Of the rows; a table, or by the suffix of --out."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Keep rows here; those already there are not made again."),
    ] = None,
    sort: Annotated[
        Literal["worst", "best", "name"] | None, typer.Option(help="Which rows come first.")
    ] = None,
    maps: Annotated[
        Path | None, typer.Option("--map", help="Draw into this folder where each image is bad.")
    ] = None,
    recursive: Annotated[bool, typer.Option(help="Look into the folders of a folder.")] = True,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Images at a time; all processors if not given.")
    ] = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda"], typer.Option(help="Where to compute.")
    ] = "cpu",
) -> None:
    """Say how good photographs are: 0 to 100 points, higher is better.

    Example: `reiqa score photo.jpg holiday/ --sort worst`
    """
    from reiqa.scoring import verb

    verb.score(paths, bundle, form, out, sort, maps, recursive, threads, device)


@app.command()
def ablate(
    matrix: Annotated[
        str, typer.Option(help="published, small, or a .yaml file of your own.")
    ] = "published",
    only: Annotated[
        list[str] | None, typer.Option(help="This factor alone, such as swap; several times.")
    ] = None,
    listing: Annotated[bool, typer.Option("--list", help="Say what there is to run.")] = False,
    write: Annotated[
        Path | None, typer.Option("--write", help="Write the table as a Markdown page too.")
    ] = None,
    file: ParamsFile = layout.PARAMS,
) -> None:
    """Change one choice at a time, pretrain the quality expert anew, and see what it is worth.

    Each cell has a project folder of its own under work/ablations; finished cells are kept, and a
    cut one goes on where it stopped. The table goes to results/ablations.csv.

    Example: `reiqa ablate --matrix small --only swap`
    """
    from reiqa.ablations import Matrix, running, table

    params = _load(file)
    plan = Matrix.read(matrix, params)
    plan = plan.only(only) if only else plan
    if listing:
        cells = [
            (running.label(cell), "done" if running.result(cell) else "to do", str(cell.folder))
            for cell in plan.cells
        ]
        typer.echo(text.aligned(("cell", "state", "folder"), cells))
        return
    base = plan.cells[0].params
    needed = dict.fromkeys(name for cell in plan.cells for name in cell.params.chunks.corpora)
    for name in [*needed, base.datasets[0]]:
        if not layout.index(name).exists():
            _index_anew(name, file)

    def stages(changed: Params) -> None:
        """Make a cell's expert and features: in its folder, of the params.yaml there."""
        for corpus in changed.chunks.corpora:
            chunks(corpus)
        pretrain("quality")
        features(base.datasets[0], expert="quality")

    with store.locked(layout.ABLATIONS):
        rows = running.run(plan, stages)
    page = table.page(plan, rows)
    if write is not None:
        store.write_text(write, page)
    typer.echo(page)


@app.command()
def doctor(
    results: Annotated[
        bool, typer.Option("--results", help="Walk back from the results to what they came from.")
    ] = False,
    file: ParamsFile = layout.PARAMS,
) -> None:
    """Say what works on this machine and what does not.

    Example: `reiqa doctor --results`
    """
    from reiqa import health

    sound = health.lineage(layout.ALL_SRCC) if results else health.machine(file)
    raise typer.Exit(0 if sound else 1)


def _fitted_on(*sets: str) -> list[Path]:
    return [
        path
        for name in sets
        for path in (layout.index(name), *(layout.features(name, expert) for expert in EXPERTS))
    ]


def _load(file: Path) -> Params:
    from reiqa import distortions
    from reiqa.data import catalog

    return parameters.load(file, catalog.rated(), catalog.corpora(), distortions.names)


def _known_set(name: str) -> None:
    from reiqa.data import catalog

    catalog.get(name)


def _index_anew(name: str, file: Path) -> None:
    """Bring and index a set that is not here, from the mirror of the environment if one is set."""
    mirror = os.environ.get("REIQA_MIRROR")
    fetch([name], mirror=Path(mirror) if mirror else None, file=file)
    index(name, file=file)


def _rated_set(name: str) -> None:
    from reiqa.data import catalog

    if name not in catalog.rated():
        raise BadInputError(
            f"--dataset {name}: not a rated set; allowed: {', '.join(catalog.rated())}"
        )


def _bound(function: Callable[..., object], *arguments: object) -> Callable[[], object]:
    return lambda: function(*arguments)


def _shard_count(params: Params, corpus: str) -> int:
    from reiqa.data import catalog

    return params.chunks.shard_count(catalog.get(corpus).images)


def _shard_numbers(text: str, count: int) -> list[int]:
    if not text:
        return list(range(count))
    number, _, of = text.partition("/")
    if not (number.isdecimal() and of.isdecimal() and int(of) == count and int(number) < count):
        raise BadInputError(f"--shard {text}: allowed here: 0/{count} to {count - 1}/{count}")
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


def _make_model(
    expert: ExpertName,
    params: Params,
    inputs: list[Path],
    work: Callable[[], object],
    force: bool,
) -> None:
    path = layout.model(expert)
    beside = [layout.beside(path, kind) for kind in layout.MODELLED]
    store.make(path, "model", expert, params, inputs, work, force, beside)


def _training_inputs(params: Params, expert: ExpertName) -> list[Path]:
    if expert == "content":
        return [layout.index(corpus) for corpus in params.content.corpora]
    return [
        layout.shard(corpus, number)
        for corpus in params.chunks.corpora
        for number in range(_shard_count(params, corpus))
    ]


def main() -> NoReturn:
    """Run a verb; end with 0 for done, 1 for failed work, 2 for bad input, 130 for Ctrl-C."""
    signal.signal(signal.SIGINT, _interrupted)
    code: int | None = _INTERRUPTED
    try:
        code = app(prog_name="reiqa", standalone_mode=False)
    except (_UsageError, *_EXPECTED) as error:
        message, code = _ending(error)
        say(message)
    except (KeyboardInterrupt, typer.Abort):
        pass
    if code == _INTERRUPTED:
        _leave(code)
    sys.exit(code or 0)


#: Exit code after Ctrl-C, as shells have it.
_INTERRUPTED = 130


def _interrupted(_number: int, _frame: object) -> NoReturn:
    # A second Ctrl-C ends the process whatever it does.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    say("reiqa: interrupted; what is finished is kept, the same command goes on from there")
    raise KeyboardInterrupt


def _leave(code: int) -> NoReturn:
    """End at once: threads that wait for a server would hold an orderly end up for minutes."""
    progress.close()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _ending(error: BaseException) -> tuple[str, int]:
    """Return the line and the exit code that an expected error comes to."""
    if isinstance(error, _UsageError):
        told, code = _usage(error), 2
    elif isinstance(error, OSError):
        # Disk full, no permission, a folder in the way: the system's words say it best.
        told, code = f"{error.filename or 'the system'}: {error.strerror or error}", 1
        told += "; make room and run again" * (error.errno in store.NO_ROOM)
    else:
        told, code = str(error), 2 if isinstance(error, BadInputError) else 1
    return f"reiqa: {_printable(' '.join(told.split()))}", code


def _printable(line: str) -> str:
    """Spell out what would steer the terminal: names in it may come from a stranger's archive."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def _usage(error: Any) -> str:
    """Say in one line what is wrong with the words of a command, and where they are explained."""
    command = error.ctx.command_path if error.ctx else " ".join(["reiqa", *sys.argv[1:2]])
    verb = command.removeprefix("reiqa").strip()
    what = error.format_message().replace("Value error, ", "").replace("(s)", "").rstrip(".")
    return f"{verb}{': ' * bool(verb)}{what[:1].lower()}{what[1:]} (see: {command} --help)"
