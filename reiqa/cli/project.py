"""Verbs about a whole project: its presets, its ablations, its health."""

from pathlib import Path
from typing import Annotated

import typer

from reiqa import layout, store, text
from reiqa import params as parameters
from reiqa.cli.data import chunks, index_anew
from reiqa.cli.experts import pretrain
from reiqa.cli.given import ParamsFile, load
from reiqa.cli.results import features
from reiqa.errors import BadInputError
from reiqa.params import Params
from reiqa.progress import say


def preset(
    name: Annotated[str, typer.Argument(help="demo, biq2021 or paper.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write it.")] = layout.PARAMS,
    force: Annotated[bool, typer.Option("--force", help="Even over a file you changed.")] = False,
) -> None:
    """Write a preset to params.yaml.

    Example: `reiqa preset biq2021`
    """
    folder = Path(parameters.__file__).parent / "presets"
    texts = {file.stem: file.read_text(encoding="utf-8") for file in folder.glob("*.yaml")}
    if name not in texts:
        raise BadInputError(f"preset {name!r}: no such preset; allowed: {', '.join(sorted(texts))}")
    if out.exists() and not force and out.read_text(encoding="utf-8") not in texts.values():
        raise BadInputError(f"{out}: holds changes of your own; keep them, or say --force")
    store.write_text(out, texts[name])
    say(f"{out}: now the preset {name}")


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

    params = load(file)
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
            index_anew(name, file)

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
