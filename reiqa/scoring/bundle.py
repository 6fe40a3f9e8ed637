"""The bundle: a folder with a complete scorer and its provenance.

It contains weights (safetensors), the graph of each expert (ONNX) and JSON, but no code.
``bundle.json`` contains the digest of every part and is written last. The digest of that file is
the identity of the bundle and therefore covers all parts.
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

#: Format version; increased for incompatible changes.
FORMAT = 4

MANIFEST = "bundle.json"
CARD = "CARD.md"
REGRESSOR = "regressor.safetensors"

#: Weights and graph of each expert, and the regressor. A graph contains no weights; it refers to
#: the tensors of the safetensors file.
PARTS = (
    *(f"{expert}.{suffix}" for expert in EXPERTS for suffix in ("safetensors", "onnx")),
    REGRESSOR,
)

#: Folder of the bundles that are installed with the package.
SHIPPED = Path(__file__).parents[1] / "bundles"

# Suffixes of documentation files that are allowed in the folder.
_DOCUMENT_SUFFIXES = {".md", ".txt"}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class BundleRecipe(_Part):
    """How features are computed from an image, as for training the regressor.

    Attributes:
        scales: scales of the image, in the order of the features.
        pooling: layers to pool.
        half: resampling filter of the half scale.
        resize: length of the shorter side after downscaling; None keeps the size.
        max_pixels: larger images are downscaled to this number of pixels.
        precision: numeric precision of the experts; a bundle scores in float32 everywhere.
        processor: device type of the training features; informational only.
        format: format number of the training features (`reiqa.stages`); informational only.
    """

    scales: tuple[float, ...]
    pooling: Pooling = "last"
    half: Literal["antialiased bicubic"]
    resize: int | None
    max_pixels: int
    precision: Literal["float32"]
    processor: str
    format: int = 1


class BundleExpert(_Part):
    """One expert.

    Attributes:
        backbone: name of the network.
        normalisation: name of the input normalisation.
        width: number of features per scale.
        licence: licence of the weights.
    """

    backbone: str
    normalisation: str
    width: int
    licence: str


class ResidualQuantiles(_Part):
    """Quantiles of rating minus prediction on held-out images.

    Attributes:
        coverage: fraction of ratings inside the interval.
        count: number of predictions.
        at: predicted scores, ascending.
        low: offset of the lower end of the interval at each score.
        high: offset of the upper end of the interval at each score.
    """

    coverage: float
    count: int
    at: tuple[float, ...] = Field(min_length=1)
    low: tuple[float, ...]
    high: tuple[float, ...]

    def expected_range(self, score: float) -> tuple[float, float]:
        """Return the interval of the expected mean opinion score, clipped to the scale."""
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
    """The ratings that the regressor was fitted to.

    Attributes:
        dataset: name in the catalog.
        title: display name.
        images: number of rated images.
        proxy: the ratings are a full-reference metric, not human opinion scores.
        low: rating that corresponds to 0 points.
        high: rating that corresponds to 100 points.
        model: `regression.model`.
        alpha: penalty.
        l1_ratio: fraction of the L1 penalty.
        licence: licence of the dataset.
        citation: publication to cite.
        sides: shorter side in pixels of the rated images, 5 % and 95 % quantile; None if unknown.
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
    sides: tuple[int, int] | None = None

    def points(self, ratings: Vector) -> Vector:
        """Convert ratings to points from 0 to 100."""
        points: Vector = (ratings - self.low) * 100 / (self.high - self.low)
        return points


class Manifest(_Part):
    """Content of ``bundle.json``.

    Attributes:
        format: see `FORMAT`.
        name: name of the bundle.
        scale: description of the scale.
        intercept: points of the mean photograph, to which the experts' contributions are added.
        recipe: feature recipe.
        experts: both experts.
        fitted: ratings that the regressor was fitted to.
        residuals: residual quantiles for the expected range.
        metrics: one entry per protocol, with metrics by variant.
        parts: SHA-256 of each safetensors file.
        provenance: command, revision, parameters and inputs of each part.
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
    """A bundle on disk with verified digests.

    Attributes:
        folder: folder of the bundle.
        manifest: content of ``bundle.json``.
        digest: SHA-256 of ``bundle.json``.
    """

    folder: Path
    manifest: Manifest
    digest: str

    @property
    def identity(self) -> str:
        """Name and digest; scores with equal identity come from the same scorer."""
        return f"{self.manifest.name}-{self.digest[:8]}"

    def part(self, name: str) -> Path:
        """Return the path of a part."""
        return self.folder / name


def installed_bundles() -> list[str]:
    """Return the names of the bundles that are installed with the package."""
    return sorted(path.parent.name for path in SHIPPED.glob(f"*/{MANIFEST}"))


def find_bundle(name: str | Path) -> Path:
    """Return the folder of a bundle, given its path, its name if installed, or its hub address.

    Raises:
        BadInputError: the bundle does not exist.
        WorkFailedError: the download from the hub failed.
    """
    if isinstance(name, str) and name.startswith("hf://"):
        # Imported here because it imports this module.
        from reiqa.scoring.hub import fetch_bundle

        return fetch_bundle(name)
    try:
        folder = Path(name)
        if (folder / MANIFEST).is_file():
            return folder
    except TypeError:
        raise BadInputError(f"bundle {name!r}: expected a name or a path") from None
    except OSError as error:
        raise BadInputError(f"{name}: cannot read a bundle here ({error.strerror})") from None
    if str(name) == folder.name and (SHIPPED / folder.name / MANIFEST).is_file():
        return SHIPPED / folder.name
    raise BadInputError(
        f"{name}: bundle not found (a folder with {MANIFEST});"
        f" installed: {', '.join(installed_bundles()) or 'none'}"
    )


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a bundle without verifying its parts.

    Raises:
        BadInputError: it is missing, damaged, or has a different format.
    """
    path = folder / MANIFEST
    try:
        return _parse_manifest(path, path.read_bytes())
    except OSError as error:
        raise BadInputError(f"{path}: {error.strerror}") from None


def load_bundle(name: str | Path = "lite") -> Bundle:
    """Load a bundle and verify its parts.

    Args:
        name: name of an installed bundle, path of a folder, or ``hf://USER/REPO[@REVISION]``.

    Raises:
        BadInputError: the bundle is missing, damaged, has a newer format, or contains other files.
        WorkFailedError: the download from the hub failed.
    """
    folder = find_bundle(name)
    try:
        return _read_bundle(folder)
    except OSError as error:
        raise BadInputError(f"{error.filename or folder}: {error.strerror}") from None


def _read_bundle(folder: Path) -> Bundle:
    text = (folder / MANIFEST).read_bytes()
    manifest = _parse_manifest(folder / MANIFEST, text)
    for path in sorted(folder.iterdir()):
        known = (
            path.name in (*PARTS, MANIFEST)
            or path.suffix in _DOCUMENT_SUFFIXES
            or path.name[0] == "."
        )
        if not known:
            raise BadInputError(
                f"{path}: not part of a bundle, which contains only safetensors and JSON."
                " Remove the file, or do not use this bundle."
            )
    for part in PARTS:
        path = folder / part
        if not path.is_file():
            raise BadInputError(
                f"{path}: missing from the bundle. Download the complete bundle again."
            )
        if store.file_digest(path) != manifest.parts.get(part):
            raise BadInputError(
                f"{path}: checksum mismatch with {MANIFEST}. Download the complete bundle again."
            )
    return Bundle(folder, manifest, hashlib.sha256(text).hexdigest())


def _parse_manifest(path: Path, text: bytes) -> Manifest:
    try:
        tree = json.loads(text)
        number = tree["format"]
        if isinstance(number, int) and number > FORMAT:
            raise BadInputError(
                f"{path}: format {number} is newer than this version supports ({FORMAT});"
                " upgrade reiqa"
            )
        if isinstance(number, int) and number < FORMAT:
            raise BadInputError(
                f"{path}: format {number} is from an earlier version of reiqa;"
                " make the bundle again with: reiqa bundle"
            )
        if tree["recipe"].get("precision") == "bf16":
            raise BadInputError(
                f"{path}: made from features in bf16, but a bundle scores in float32. Set"
                " features.precision to float32 where it was made, and run: reiqa features, reiqa"
                " fit, reiqa bundle"
            )
        return Manifest.model_validate(store.verify_checksum(tree))
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        raise BadInputError(
            f"{path}: {where}: {fault['msg']}. Download the bundle again."
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadInputError(f"{path}: not a valid manifest of a bundle ({error!r})") from None
