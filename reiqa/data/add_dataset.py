"""``reiqa datasets add``: describe a folder of images in datasets.yaml, after looking at them."""

import math
import operator
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import yaml

from reiqa import catalog, store
from reiqa import text as texts
from reiqa.catalog import DatasetEntry
from reiqa.data import matching, rating_tables
from reiqa.data.image_files import ImageFiles
from reiqa.errors import BadInputError
from reiqa.layout import IMAGE_SUFFIXES
from reiqa.validation import flow_yaml, parse_yaml

#: Names of rating columns, the best first; a column may also contain the name.
_SCORES = ("mos", "dmos", "score", "rating", "quality")

#: Names of columns with the type of a distortion.
_DISTORTIONS = ("dis_type", "dist_type", "distortion", "distortion_type")

#: Usual rating scales, the narrowest first.
_SCALES = ((0, 1), (1, 5), (0, 5), (1, 7), (0, 9), (1, 10), (0, 10), (0, 100))

#: Fraction of a usual scale that the ratings must span to be taken for ratings on it.
_MIN_SPAN = 0.3

_DVC_FILE = Path("dvc.yaml")


@dataclass(frozen=True)
class NewDataset:
    """An entry for datasets.yaml.

    Attributes:
        name: name of the dataset.
        fields: the entry, as YAML data.
        findings: what was found and decided, by subject.
    """

    name: str
    fields: dict[str, Any]
    findings: dict[str, str]


@dataclass(frozen=True)
class _Table:
    """A rating table in memory: its path, columns and rows."""

    path: Path
    heads: list[str]
    rows: list[dict[str, str]]

    def column(self, head: str) -> list[str]:
        return [(row.get(head) or "").strip() for row in self.rows]

    def numbers(self, head: str) -> list[float]:
        """Return the finite numbers in a column."""
        found = []
        for text in self.column(head):
            try:
                number = float(text)
            except ValueError:
                continue
            if math.isfinite(number):
                found.append(number)
        return found


def describe_folder(
    folder: Path, ratings: Path | None, name: str = "", score: str = ""
) -> NewDataset:
    """Look at a folder of images and its rating table, and return an entry for them.

    Args:
        folder: folder of the images.
        ratings: table with one row per image; None for photographs to pretrain on.
        name: name of the dataset; by default that of the folder.
        score: column of the ratings; by default the one whose name says so.

    Raises:
        BadInputError: the name is taken, the folder has no images, or no columns of the table fit.
    """
    if folder.is_file():
        raise BadInputError(f"{folder}: is a file; name the folder of the images")
    if not folder.is_dir():
        raise BadInputError(f"{folder}: no such folder")
    if Path.cwd().is_relative_to(folder.resolve()):
        raise BadInputError(
            f"{folder}: contains the project folder; move the images into a folder of their own"
        )
    name = _new_name(name or re.sub("[^a-z0-9]+", "_", folder.resolve().name.lower()).strip("_"))
    files = ImageFiles.under(folder)
    images = files.images()
    if not images:
        kinds = Counter(PurePath(path).suffix.lower() or "without suffix" for path in files.sizes)
        found = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(5))
        raise BadInputError(
            f"{folder}: no image in this folder{f' (found: {found})' if found else ''}; allowed:"
            f" {', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    findings = {"images": f"{len(images):,} in {folder}"}
    fields: dict[str, Any] = {"folder": _relative(folder)}
    if ratings is None:
        fields["images"] = len(images)
        findings["kind"] = "a corpus to pretrain on, because no --ratings are given"
        return NewDataset(name, fields, findings)
    table = _read(ratings)
    spec = _describe_ratings(table, files, folder, score, findings)
    fields["ratings"] = {"file": _relative(ratings), **spec}
    findings |= _check_rows(name, fields, folder, files)
    return NewDataset(name, fields, findings)


def add_entry(new: NewDataset) -> None:
    """Append an entry to datasets.yaml, and leave the rest of the file as it is.

    Raises:
        BadInputError: the file is written in a way that cannot be extended.
    """
    path = catalog.PROJECT_FILE
    before = texts.decode(path.read_bytes()) if path.exists() else "datasets:\n"
    tree = parse_yaml(before) or {}
    known = tree.get("datasets") or {}
    after = _append(before, new.name, new.fields, known)
    try:
        complete = parse_yaml(after) == {**tree, "datasets": {**known, new.name: new.fields}}
    except yaml.YAMLError:
        complete = False
    if not complete:
        entry = flow_yaml({new.name: new.fields}).removeprefix("{").removesuffix("}")
        raise BadInputError(
            f"{path}: cannot be extended, because datasets is not its last section in block style;"
            f" add this line to it: {entry}"
        )
    store.write_text(store.link_target(path), after)


def watch_with_dvc(new: NewDataset) -> str:
    """Add the files of a dataset to the dependencies of the first stage in dvc.yaml.

    Snakemake and ``reiqa status`` compare the files themselves, but DVC only sees what its file
    names.

    Returns:
        What was done or remains to be done, in one line; empty outside a DVC project.
    """
    if not _DVC_FILE.is_file():
        return ""
    paths = [new.fields["folder"], new.fields.get("ratings", {}).get("file")]
    text = _DVC_FILE.read_text(encoding="utf-8")
    try:
        tree = parse_yaml(text)
        watched = tree["stages"]["data"]["deps"]
        paths = [path for path in paths if path and path not in watched]
        after = re.sub(
            rf"^( *- ){re.escape(str(catalog.PROJECT_FILE))}\n",
            lambda found: found[0] + "".join(f"{found[1]}{flow_yaml(path)}\n" for path in paths),
            text,
            count=1,
            flags=re.MULTILINE,
        )
        watched.extend(paths)
        complete = parse_yaml(after) == tree
    except (yaml.YAMLError, KeyError, TypeError, AttributeError):
        complete = False
    if complete:
        store.write_text(_DVC_FILE, after)
        return f"{_DVC_FILE}: the stage data now depends on {', '.join(paths)}" if paths else ""
    names = ", ".join(filter(None, paths))
    return f"{_DVC_FILE}: add {names} to deps of the stage data, so that DVC sees changes"


def next_commands(new: NewDataset) -> list[str]:
    """Return the commands from an entry to a scorer, or to a corpus."""
    if "ratings" not in new.fields:
        return [f"reiqa index --dataset {new.name}"]
    dataset = f"--dataset {new.name}"
    return [
        f"reiqa preset bundle {dataset}",
        *(f"reiqa {verb} {dataset}" for verb in ("features", "fit")),
        f"reiqa bundle {dataset} --out bundles/{new.name}",
    ]


def _new_name(name: str) -> str:
    catalog.check_name(name)
    if name in catalog.project_names():
        raise BadInputError(
            f"{name}: already in {catalog.PROJECT_FILE}; edit it there, or choose another --name"
        )
    return name


def _relative(path: Path) -> str:
    """Return a path relative to the project folder if it is inside, with slashes."""
    inside = path.absolute()
    if inside.is_relative_to(Path.cwd()):
        return inside.relative_to(Path.cwd()).as_posix()
    return path.as_posix()


def _read(path: Path) -> _Table:
    if path.is_dir():
        raise BadInputError(f"{path}: is a folder; name the table of the ratings")
    if not path.is_file():
        raise BadInputError(f"{path}: no such file")
    rows = [row for _, row in rating_tables.read_table(path)]
    if not rows:
        raise BadInputError(f"{path}: has no rows below the names of the columns")
    heads = [head for head in rows[0] if head]
    if not heads:
        raise BadInputError(f"{path}: the first line has no names of columns")
    return _Table(path, heads, rows)


def _describe_ratings(
    table: _Table, files: ImageFiles, folder: Path, score: str, findings: dict[str, str]
) -> dict[str, Any]:
    """Return the columns, the scale and the direction of a table, and add them to ``findings``."""
    image = _image_column(table, files, folder)
    spec: dict[str, Any] = {"image": image, "score": _score_column(table, image, score)}
    findings["names"] = f"column {image} of {table.path}"
    others = [head for head in table.heads if head not in spec.values()]
    for role, found in (
        ("reference", [head for head in others if head.lower().startswith("ref")]),
        ("distortion", [head for head in others if head.lower() in _DISTORTIONS]),
    ):
        if used := [head for head in found if any(table.column(head))]:
            spec[role] = used[0]
            findings[f"{role}s"] = f"column {used[0]}"
    numbers = table.numbers(spec["score"])
    low, high = min(numbers), max(numbers)
    if low == high:
        raise BadInputError(
            f"{table.path}: all ratings in column {spec['score']} are {low:g}; name another column"
            " with --score"
        )
    spec["low"], spec["high"] = _scale(low, high)
    usual = (spec["low"], spec["high"]) in _SCALES
    where = "" if usual else " (of these ratings; if it is wider, edit datasets.yaml)"
    lower_is_better = "dmos" in spec["score"].lower()
    if lower_is_better:
        spec |= {"higher_is_better": False, "measure": "DMOS"}
    findings["ratings"] = (
        f"column {spec['score']}, {low:g} to {high:g}: a scale of {spec['low']:g} to"
        f" {spec['high']:g}{where}, {'lower' if lower_is_better else 'higher'} is better"
    )
    return spec


def _image_column(table: _Table, files: ImageFiles, folder: Path) -> str:
    """Return the column that names the most images, of two the one with more different names."""

    def rank(head: str) -> tuple[int, int]:
        names = table.column(head)
        found = sum(files.find(name, None).path is not None for name in names)
        return found, len(set(names))

    ranks = {head: rank(head) for head in table.heads}
    best = max(ranks, key=lambda head: ranks[head])
    if ranks[best][0] == 0:
        first = ", ".join(repr(table.column(head)[0]) for head in table.heads)
        raise BadInputError(
            f"{table.path}: no column names the images of {folder}: the first row has {first}, the"
            f" first image is {files.images()[0]!r}"
        )
    if files.find(best, None).path is not None:
        raise BadInputError(
            f"{table.path}: the first line is an image ({best!r}); put a line with the names of the"
            " columns above it, such as image,mos"
        )
    return best


def _score_column(table: _Table, image: str, wanted: str) -> str:
    heads = [head for head in table.heads if head != image]
    numeric = [head for head in heads if 2 * len(table.numbers(head)) > len(table.rows)]
    if wanted:
        if wanted not in numeric:
            raise BadInputError(
                f"{table.path}: --score {wanted}: not a column of numbers;"
                f" allowed: {', '.join(numeric) or 'none'}"
            )
        return wanted
    named = (
        [head for head in numeric if fits(head.lower(), name)]
        for fits in (operator.eq, operator.contains)
        for name in _SCORES
    )
    candidates = next(filter(None, named), numeric)
    if not candidates:
        raise BadInputError(f"{table.path}: no column of numbers: only {', '.join(table.heads)}")
    if len(candidates) > 1:
        raise BadInputError(
            f"{table.path}: several columns may be the ratings: {', '.join(candidates)}; name one"
            " with --score"
        )
    return candidates[0]


def _scale(low: float, high: float) -> tuple[float, float]:
    """Return the narrowest usual scale that the ratings are on, or their own range."""
    for least, most in _SCALES:
        if least <= low and high <= most and high - low >= _MIN_SPAN * (most - least):
            return least, most
    return low, high


def _check_rows(
    name: str, fields: Mapping[str, Any], folder: Path, files: ImageFiles
) -> dict[str, str]:
    """Match rows and images as `reiqa index` does; return what it will refuse.

    Raises:
        BadInputError: a row is not valid.
    """
    entry = DatasetEntry.model_validate({**fields, "name": name})
    matched = matching.match_rated(entry, folder, files, verify=False, allow_missing=True)
    findings = {"matched": f"{len(matched.rows):,} of {matched.header['listed']:,} rows"}
    if unrated := matched.header.get("unrated"):
        findings["matched"] += f"; {unrated:,} images without a rating will be left out"
    if str(matched.faults):
        findings["warning"] = (
            f"{matched.faults}: correct the table or the files before reiqa index, or leave the"
            " images out: data.allow_missing: true in params.yaml"
        )
    return findings


def _append(text: str, name: str, fields: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    """Return the text of datasets.yaml with one more entry at its end."""
    lines = text.rstrip("\n")
    if not known:
        # `datasets: {}` becomes a block that can be extended.
        lines = re.sub(r"^datasets:[ \t]*(\{[ \t]*\}|null|~)?", "datasets:", lines, flags=re.M)
        if not re.search("^datasets:", lines, re.MULTILINE):
            lines += "\ndatasets:"
    entry = yaml.safe_dump(
        {name: dict(fields)},
        default_flow_style=None,
        sort_keys=False,
        allow_unicode=True,
        width=math.inf,
    )
    indent = " " * (_indent(text) if known else 2)
    block = "".join(f"{indent}{line}\n" for line in entry.splitlines())
    return f"{lines}\n{block}"


def _indent(text: str) -> int:
    """Return the indentation of the entries in datasets.yaml."""
    root = yaml.compose(text, yaml.SafeLoader)
    pairs: Sequence[tuple[yaml.Node, yaml.Node]] = root.value if root else ()
    return next(value.start_mark.column for key, value in pairs if key.value == "datasets")
