"""The bundle: a folder of safetensors and JSON that holds all a scorer needs, and how it was made.

No part of it is code. Every part's digest stands in ``bundle.json``, which is written last; a
bundle's identity is the digest of that file, so it names every byte.
"""

import hashlib
import json
from bisect import bisect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reiqa import store
from reiqa.errors import BadInputError
from reiqa.params import EXPERTS, ExpertName, Pooling
from reiqa.regression.scaler import Vector

#: Raised by one when bundles change so that older code cannot read them.
FORMAT = 2

MANIFEST = "bundle.json"
CARD = "CARD.md"
REGRESSOR = "regressor.safetensors"
PARTS = (*(f"{expert}.safetensors" for expert in EXPERTS), REGRESSOR)

#: Where the bundles lie that are installed with the package.
SHIPPED = Path(__file__).parents[1] / "bundles"

# What may lie in the folder beside the parts: words for people.
_WORDS = {".md", ".txt"}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class BundleRecipe(_Part):
    """How an image becomes the experts' features; what training the regressor used.

    Attributes:
        scales: at which each expert sees the image, in the order of its features.
        pooling: what of an encoder becomes features.
        half: how the half scale is made.
        resize: length that the shorter side is scaled down to; None leaves it.
        max_pixels: an image still larger is scaled down to this many.
        precision: of the experts' arithmetic.
        processor: on which the regressor's features were computed; tells, decides nothing.
        format: of these features (`store.FORMATS`), whose roundings differ; likewise.
    """

    scales: tuple[float, ...]
    pooling: Pooling = "last"
    half: Literal["antialiased bicubic"]
    resize: int | None
    max_pixels: int
    precision: Literal["float32", "bf16"]
    processor: str
    format: int = 1


class BundleExpert(_Part):
    """One expert.

    Attributes:
        backbone: its network.
        normalisation: of its input, by name.
        width: its features at one scale.
        licence: of its weights.
    """

    backbone: str
    normalisation: str
    width: int
    licence: str


class ResidualQuantiles(_Part):
    """How far ratings lay from predictions, on images that the regressor had not seen.

    Attributes:
        coverage: share of those ratings inside the range.
        count: how many predictions this is known from.
        at: predicted scores, ascending.
        low: what to add to a score there for the range's lower end.
        high: the same for its upper end.
    """

    coverage: float
    count: int
    at: tuple[float, ...] = Field(min_length=1)
    low: tuple[float, ...]
    high: tuple[float, ...]

    def expected_range(self, score: float) -> tuple[float, float]:
        """Return where people's mean rating is to be expected, inside the scale."""
        ends = (score + self._between(self.low, score), score + self._between(self.high, score))
        low, high = (min(max(end, 0.0), 100.0) for end in ends)
        return low, high

    def _between(self, offsets: tuple[float, ...], score: float) -> float:
        right = bisect(self.at, score)
        if right in (0, len(self.at)):
            return offsets[min(right, len(self.at) - 1)]
        left = right - 1
        share = (score - self.at[left]) / (self.at[right] - self.at[left])
        return offsets[left] + share * (offsets[right] - offsets[left])


class RatingScale(_Part):
    """To whose ratings the regressor was fitted.

    Attributes:
        dataset: its name in the catalog.
        title: its name among people.
        images: how many were rated.
        proxy: the ratings are a full-reference measure, not people's.
        low: rating that became 0 points.
        high: rating that became 100 points.
        model: ridge or elasticnet.
        alpha: its penalty.
        l1_ratio: the share of that which is an absolute value.
        licence: of the dataset.
        citation: what to cite.
    """

    dataset: str
    title: str
    images: int
    proxy: bool
    low: float
    high: float
    model: str
    alpha: float
    l1_ratio: float
    licence: str
    citation: str

    def points(self, ratings: Vector) -> Vector:
        """Return what ratings are on the bundle's scale."""
        points: Vector = (ratings - self.low) * 100 / (self.high - self.low)
        return points


class Manifest(_Part):
    """What ``bundle.json`` holds.

    Attributes:
        format: see `FORMAT`.
        name: of the bundle.
        scale: in words.
        intercept: points of the mean photograph: what the experts' shares are added to.
        recipe: from image to features.
        experts: both.
        fitted: to what.
        residuals: for the expected range.
        metrics: one entry a protocol: its words, and metrics by variant.
        parts: SHA-256 of each safetensors file.
        provenance: how each part was made: command, revision, parameters, inputs.
    """

    format: int
    name: str
    scale: str
    intercept: float
    recipe: BundleRecipe
    experts: Mapping[ExpertName, BundleExpert]
    fitted: RatingScale
    residuals: ResidualQuantiles
    metrics: tuple[dict[str, Any], ...]
    parts: dict[str, str]
    provenance: dict[str, Any]


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk, each part checked against its digest.

    Attributes:
        folder: where.
        manifest: what it says of itself.
        digest: SHA-256 of ``bundle.json``.
    """

    folder: Path
    manifest: Manifest
    digest: str

    @property
    def identity(self) -> str:
        """Name and digest: two scores with the same identity are of the same scorer."""
        return f"{self.manifest.name}-{self.digest[:8]}"

    def part(self, name: str) -> Path:
        """Return where a part lies."""
        return self.folder / name


def find_bundle(name: str | Path) -> Path:
    """Return the folder of a bundle: one that is named by its path, or one that is installed.

    Raises:
        BadInputError: there is none.
    """
    try:
        folder = Path(name)
        if (folder / MANIFEST).is_file():
            return folder
    except TypeError:
        raise BadInputError(f"bundle {name!r}: give a name or a path") from None
    except OSError as error:
        raise BadInputError(f"{name}: no bundle can be read here ({error.strerror})") from None
    if str(name) == folder.name and (SHIPPED / folder.name / MANIFEST).is_file():
        return SHIPPED / folder.name
    installed = sorted(path.parent.name for path in SHIPPED.glob(f"*/{MANIFEST}"))
    raise BadInputError(
        f"{name}: no bundle here (a folder with {MANIFEST});"
        f" installed: {', '.join(installed) or 'none'}"
    )


def load_bundle(name: str | Path = "lite") -> Bundle:
    """Read a bundle and check each of its parts.

    Args:
        name: of an installed bundle, or the path of a folder.

    Raises:
        BadInputError: it is not there, of a newer format, damaged, or holds something else.
    """
    folder = find_bundle(name)
    try:
        return _read(folder)
    except OSError as error:
        raise BadInputError(f"{error.filename or folder}: {error.strerror}") from None


def _read(folder: Path) -> Bundle:
    text = (folder / MANIFEST).read_bytes()
    manifest = _checked(folder / MANIFEST, text)
    for path in sorted(folder.iterdir()):
        known = path.name in (*PARTS, MANIFEST) or path.suffix in _WORDS or path.name[0] == "."
        if not known:
            raise BadInputError(
                f"{path}: no part of a bundle, which holds safetensors and JSON alone;"
                " do not trust it, or remove the file"
            )
    for part in PARTS:
        path = folder / part
        if not path.is_file():
            raise BadInputError(f"{path}: missing from the bundle; get it whole again")
        if store.file_digest(path) != manifest.parts.get(part):
            raise BadInputError(
                f"{path}: not the file that {MANIFEST} names (wrong SHA-256);"
                " get the bundle whole again"
            )
    return Bundle(folder, manifest, hashlib.sha256(text).hexdigest())


def _checked(path: Path, text: bytes) -> Manifest:
    try:
        tree = json.loads(text)
        number = tree["format"]
        if isinstance(number, int) and number > FORMAT:
            raise BadInputError(
                f"{path}: of format {number}, newer than this reiqa reads ({FORMAT}); upgrade reiqa"
            )
        if isinstance(number, int) and number < FORMAT:
            raise BadInputError(
                f"{path}: of format {number}, which an earlier reiqa wrote;"
                " make the bundle again with: reiqa bundle"
            )
        return Manifest.model_validate(store.verify_checksum(tree))
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        raise BadInputError(f"{path}: {where}: {fault['msg']}; get the bundle again") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadInputError(f"{path}: not a bundle's manifest ({error!r})") from None
