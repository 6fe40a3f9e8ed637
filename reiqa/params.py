"""params.yaml as validated, typed and immutable models.

An unknown key, a wrong type or an invalid value raises an error with the file, the key and the
allowed values.
"""

import hashlib
import json
from collections.abc import Callable, Collection
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from reiqa.backbone_names import BACKBONES, FIXED_SIZE, PACKAGED, TIMM_PREFIX, WITHOUT_STAGES
from reiqa.errors import BadInputError

# Exported from here too, because most modules need these names together with the parameters.
from reiqa.expert_names import EXPERTS as EXPERTS
from reiqa.expert_names import VARIANTS as VARIANTS
from reiqa.expert_names import ExpertName as ExpertName
from reiqa.expert_names import Pooling as Pooling
from reiqa.expert_names import Variant as Variant
from reiqa.validation import describe_validation_error, read_yaml

#: The paper's distortion types, selected by ``bank.types: published``. Duplicated here because the
#: bank takes seconds to import; a test compares them.
PUBLISHED_TYPES = frozenset(
    [
        "gaussian_blur",
        "lens_blur",
        "colour_diffusion",
        "colour_shift",
        "desaturation",
        "saturation",
        "jpeg",
        "white_noise",
        "colour_noise",
        "impulse_noise",
        "multiplicative_noise",
        "denoise",
        "brighten",
        "darken",
        "mean_shift",
        "resize_bicubic",
        "sharpen",
        "contrast",
        "colour_blocks",
        "pixelate",
        "displaced_patches",
        "jitter",
        "resize_bilinear",
        "resize_nearest",
        "resize_lanczos",
    ]
)

Positive: TypeAlias = Annotated[int, Field(ge=1)]
Fraction: TypeAlias = Annotated[float, Field(gt=0, lt=1)]
Precision: TypeAlias = Literal["float32", "bf16"]


def _check_scale(value: float) -> float:
    if value not in (1.0, 0.5):
        raise ValueError("allowed: 1.0, 0.5")
    return value


Scale: TypeAlias = Annotated[float, AfterValidator(_check_scale)]


def _check_unique(values: list[Any]) -> list[Any]:
    if len(set(values)) < len(values):
        raise ValueError(f"duplicate values in {values!r}")
    return values


Names: TypeAlias = Annotated[list[str], AfterValidator(_check_unique)]
Scales: TypeAlias = Annotated[
    list[Scale], Field(min_length=1, max_length=2), AfterValidator(_check_unique)
]


class ParamsSection(BaseModel):
    """A section of params.yaml without unknown keys; immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ComputeParams(ParamsSection):
    """Device and precision, which are part of the identity of results, and threads.

    Attributes:
        device: ``auto`` uses a GPU if there is one, waiting until it is free, else the CPU.
        threads: CPU threads of one job; affects results only by rounding.
        precision: of pretraining; ``bf16`` autocasts the encoders. ``reiqa doctor --precision``
            measures what it gains on a processor. Features have ``features.precision``.
        compile: use ``torch.compile`` for both encoders in pretraining.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Positive = 1
    precision: Precision = "float32"
    compile: bool = False


class DataParams(ParamsSection):
    """Handling of missing data.

    Attributes:
        allow_missing: index a dataset although listed images are missing, and report their number.
    """

    allow_missing: bool = False


class BankParams(ParamsSection):
    """Distortion types for training the quality expert.

    Attributes:
        types: ``published`` (the 25 of the paper) or a list of their names.
        extras: names of further types, such as motion blur or JPEG 2000.
    """

    types: Literal["published"] | Annotated[Names, Field(min_length=1)] = "published"
    extras: Names = []

    @property
    def count(self) -> int:
        """Number of distinct types, including extras."""
        named = PUBLISHED_TYPES if self.types == "published" else self.types
        return len({*named, *self.extras})


class ChunkParams(ParamsSection):
    """Chunks: n_aug + 1 versions of one pair of crops.

    Attributes:
        corpora: corpora for training the quality expert; required if its source is ``pretrain``.
        n_aug: number of distinct distortion types in a chunk.
        patch: side of a crop, in pixels.
        ola: minimum and maximum overlap of the two crops, as a fraction of the area of a crop.
        scales: scales of the crops.
        swap: exchange query and key crop in half of the versions.
        windows_per_image: number of windows per photograph.
        images_per_shard: number of photographs per shard.
    """

    corpora: Names = []
    n_aug: Positive = 11
    patch: Annotated[int, Field(ge=16, le=512)] = 160
    ola: tuple[Fraction, Fraction] = (0.10, 0.30)
    scales: Scales = [1.0, 0.5]
    swap: bool = True
    windows_per_image: Positive = 1
    images_per_shard: Positive = 1000

    def shard_count(self, images: int) -> int:
        """Return the number of shards of a corpus with this many photographs."""
        return -(-images // self.images_per_shard)

    @model_validator(mode="after")
    def _ordered(self) -> "ChunkParams":
        if self.ola[0] > self.ola[1]:
            raise ValueError(
                f"ola: the minimum overlap {self.ola[0]} exceeds the maximum {self.ola[1]}"
            )
        return self


class DistortionLossParams(ParamsSection):
    """Weights of losses on the distortions of a chunk, added to the contrastive loss.

    Attributes:
        contrast: supervised contrast: versions of other photographs under the same type and level
            are positives.
        type: cross-entropy of the distortion type.
        level: squared error of the level.
        severity: error of a full-reference measure (MDSI) against the undistorted crop.
        sharing: number of photographs of a step that share their types and levels.
    """

    contrast: Annotated[float, Field(ge=0)] = 0.0
    type: Annotated[float, Field(ge=0)] = 0.0
    level: Annotated[float, Field(ge=0)] = 0.0
    severity: Annotated[float, Field(ge=0)] = 0.0
    sharing: Positive = 1


class TrainingParams(ParamsSection):
    """Training with MoCo-v2.

    Attributes:
        epochs: number of passes over the corpus.
        batch_size: photographs per step, over all processes.
        optimizer: optimiser of the query encoder.
        learning_rate: ``auto`` scales with the number of pairs per step, by the published rule.
        weight_decay: weight decay of all parameters except one-dimensional ones.
        warmup_epochs: length of the learning rate warm-up.
        momentum: momentum of the key encoder.
        temperature: temperature of the contrastive loss.
        queue_size: number of keys in the queue of negatives.
        projection_dim: output dimension of the projection head.
        negatives: ``queue+chunk`` adds the other versions of the same chunk as negatives.
        batchnorm: how processes share batch statistics; ``frozen`` keeps the statistics of the
            initial weights instead.
        bn_splits: number of parts of a process's batch with separate batch normalisation.
            Shared batch statistics leak the positive. With ``shuffle``, keys are assigned to parts
            at random, as if each part was on a separate device.
        distortion_losses: further losses of the quality expert.
        checkpoint_every: steps between checkpoints.
        keep: number of checkpoints to keep.
    """

    epochs: Positive
    batch_size: Positive
    optimizer: Literal["lars", "sgd", "adamw"] = "lars"
    learning_rate: Annotated[float, Field(gt=0)] | Literal["auto"] = "auto"
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    warmup_epochs: Annotated[float, Field(ge=0)] = 5
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.999
    temperature: Annotated[float, Field(gt=0)] = 0.2
    queue_size: Positive = 65536
    projection_dim: Positive = 128
    negatives: Literal["queue", "queue+chunk"] = "queue"
    batchnorm: Literal["shuffle", "sync", "frozen"] = "shuffle"
    bn_splits: Annotated[int, Field(ge=1)] = 1
    distortion_losses: DistortionLossParams | None = None
    checkpoint_every: Positive = 100
    keep: Positive = 2


def _known_backbone(name: str) -> str:
    if name in BACKBONES or name.startswith(TIMM_PREFIX):
        return name
    if name in FIXED_SIZE:
        raise ValueError(f"{name} has a fixed input size; choose another backbone")
    near = "".join(f"did you mean {each}? " for each in get_close_matches(name, BACKBONES, 1))
    raise ValueError(
        f"unknown name {name!r}; {near}allowed: {', '.join(PACKAGED)}, {TIMM_PREFIX}NAME, and"
        " torchvision's classification models, such as resnet50, convnext_tiny, swin_t"
        f" ({len(BACKBONES)} in all)"
    )


Backbone: TypeAlias = Annotated[str, AfterValidator(_known_backbone)]


class ExpertParams(ParamsSection):
    """One of the two encoders and the source of its weights.

    Attributes:
        source: ``pretrain``, ``import`` from ``file``, or ``package`` for packaged weights.
        backbone: a torchvision model's name, ``efficientnet_lite0`` to
            ``efficientnet_lite2``, or ``timm/NAME`` for a model of timm.
        file: the checkpoint or model to import, such as an expert of a bundle. A path that does
            not exist in the project is looked up in the package
            (``bundles/lite/quality.safetensors``).
        init: initial weights of pretraining: ``random``, ``package``, or a file as above; refused
            beside another source.
        interpolation: share of the trained weights in the saved encoder; the rest is the initial
            weights'. 1 saves the trained weights; above 1 extrapolates what training changed.
        corpora: corpora for pretraining the content expert (quality uses chunks).
        view: side of a content view in pixels.
        training: required if ``source`` is ``pretrain``.
    """

    source: Literal["pretrain", "import", "package"]
    backbone: Backbone = "resnet50"
    file: str | None = None
    init: str = "random"
    interpolation: Annotated[float, Field(gt=0, le=2)] = 1.0
    corpora: Names = []
    view: Annotated[int, Field(ge=32)] = 224
    training: TrainingParams | None = None

    @model_validator(mode="after")
    def _complete(self) -> "ExpertParams":
        if self.source == "pretrain" and self.training is None:
            raise ValueError("training: required because source is pretrain")
        if self.source == "import" and self.file is None:
            raise ValueError("file: required because source is import")
        frozen = self.training is not None and self.training.batchnorm == "frozen"
        if self.source == "pretrain" and self.init == "random" and frozen:
            raise ValueError("training.batchnorm: frozen needs initial weights; set init")
        # Statistics of the one network do not fit the weights of the other.
        if self.interpolation != 1 and not (self.source == "pretrain" and frozen):
            raise ValueError(
                "interpolation: other than 1 needs training.batchnorm: frozen and source: pretrain"
            )
        if "package" in (self.source, self.init) and self.backbone not in PACKAGED:
            raise ValueError(
                f"backbone: no package ships {self.backbone} weights;"
                f" allowed: {', '.join(PACKAGED)}"
            )
        if self.source != "pretrain" and self.init != "random":
            raise ValueError(
                f"init: only pretraining has initial weights, but source is {self.source};"
                " remove init or set source: pretrain"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_default(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out ``interpolation`` where it changes nothing, so that no identity contains it."""
        tree: dict[str, Any] = serialize(self)
        if self.interpolation == 1:
            tree.pop("interpolation", None)
        return tree


class FeatureParams(ParamsSection):
    """Feature extraction.

    Attributes:
        scales: scales of the photograph; the features of all scales are concatenated.
        pooling: ``last`` is the paper's mean of the last stage; ``stages`` adds mean and deviation
            of every stage.
        batch: maximum number of photographs of equal shape in a batch.
        max_pixels: larger photographs are downscaled to this number of pixels and reported.
        precision: ``bf16`` autocasts the frozen encoders. A bundle needs features in float32, in
            which it scores.
    """

    scales: Scales = [1.0, 0.5]
    pooling: Pooling = "last"
    batch: Positive = 8
    max_pixels: Annotated[int, Field(ge=65_536)] = 50_000_000
    precision: Precision = "float32"


class RankingParams(ParamsSection):
    """A ranking term that keeps degraded copies of a photograph in order.

    Attributes:
        dataset: degraded copies of a dataset in ``datasets``, which alone is fitted with them; only
            those of training photographs are used.
        margin: target difference of the scores of adjacent levels, in standard deviations of the
            ratings.
        weight: weight of one pair of adjacent levels, relative to one rated photograph.
    """

    dataset: str
    margin: Annotated[float, Field(gt=0)] = 0.7
    weight: Annotated[float, Field(gt=0)] = 0.5


Grid: TypeAlias = tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)], Positive]


def _check_grid(grid: Grid) -> Grid:
    if grid[0] > grid[1]:
        raise ValueError("the minimum exceeds the maximum")
    return grid


class SVRParams(ParamsSection):
    """Support vector regression, for ``model: svr``.

    Attributes:
        kernel: ``rbf`` is customary for quality features; ``linear`` gives weights, which a bundle
            can hold.
        C: grid of costs of an error: minimum, maximum and number (log-spaced).
        epsilon: widths of the tube of errors without cost, in standard deviations of the ratings.
    """

    kernel: Literal["rbf", "linear"] = "rbf"
    C: Annotated[Grid, AfterValidator(_check_grid)] = (0.01, 100.0, 5)
    epsilon: Annotated[
        list[Annotated[float, Field(ge=0)]], Field(min_length=1), AfterValidator(_check_unique)
    ] = [0.1]


class RegressionParams(ParamsSection):
    """Regression from features to scores, and its evaluation.

    Attributes:
        model: regressor; ``svr`` has its grid in ``svr``, the others in ``alphas``.
            ``kernel_ridge`` adds a radial basis function kernel of each expert to ``ridge``.
        alphas: grid of penalties: minimum, maximum and number (log-spaced).
        l1_ratios: L1 ratios of the elastic net.
        svr: kernel and grid of support vector regression; no other model depends on it.
        components: number of principal components of an expert's features that the kernel of
            ``kernel_ridge`` sees; no other model depends on it.
        target: ``ratings``, or ``normal_scores`` with a monotone calibration curve.
        ranking: ranking term on degraded copies; ridge and kernel_ridge only.
        clip: features are clipped at this many standard deviations; None disables clipping.
        splits: number of random splits per dataset.
        fractions: fractions of the references for training, validation and test.
        protocol: ``official`` uses the published split of a dataset, if there is one.
        bootstrap: number of resamples for confidence intervals.
    """

    model: Literal["ridge", "kernel_ridge", "elasticnet", "svr"] = "ridge"
    alphas: Annotated[Grid, AfterValidator(_check_grid)] = (1e-3, 1e6, 25)
    l1_ratios: Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=1)] = [0.5]
    svr: SVRParams = SVRParams()
    components: Positive = 64
    target: Literal["ratings", "normal_scores"] = "ratings"
    clip: Annotated[float, Field(gt=0)] | None = None
    ranking: RankingParams | None = None
    splits: Positive = 10
    fractions: tuple[Fraction, Fraction, Fraction] = (0.7, 0.1, 0.2)
    protocol: Literal["official", "random"] = "official"
    bootstrap: Positive = 1000

    @model_validator(mode="after")
    def _check_values(self) -> "RegressionParams":
        if abs(sum(self.fractions) - 1) > 1e-9:
            raise ValueError(f"fractions: must add up to 1, not {sum(self.fractions):g}")
        if self.ranking and self.model not in ("ridge", "kernel_ridge"):
            raise ValueError(
                "ranking: only supported with model ridge or kernel_ridge; set it to null"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_other_models(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what decides nothing for this model, so that it is not part of any identity."""
        tree: dict[str, Any] = serialize(self)
        if self.model != "svr":
            tree.pop("svr", None)
        if self.model != "kernel_ridge":
            tree.pop("components", None)
        return tree


class ReportParams(ParamsSection):
    """The report page.

    Attributes:
        thumbnails: number of best and of worst predictions to show per dataset.
    """

    thumbnails: Annotated[int, Field(ge=0, le=50)] = 6


#: Renamed keys of earlier versions, with their new names.
RENAMED = {
    "chunks.draws": "windows_per_image",
    "training.images": "batch_size",
    "training.optimiser": "optimizer",
    "training.parts": "bn_splits",
    "training.queue": "queue_size",
    "training.width": "projection_dim",
    "regression.order": "ranking",
    "ranking.step": "margin",
}


class Params(ParamsSection):
    """Content of params.yaml.

    Attributes:
        preset: name of the preset that this file was created from.
        seed: seed of all random draws.
        datasets: rated datasets to evaluate on.
    """

    preset: str
    seed: Annotated[int, Field(ge=0)] = 0
    datasets: Annotated[Names, Field(min_length=1)]
    compute: ComputeParams = ComputeParams()
    data: DataParams = DataParams()
    bank: BankParams = BankParams()
    chunks: ChunkParams = ChunkParams()
    content: ExpertParams
    quality: ExpertParams
    features: FeatureParams = FeatureParams()
    regression: RegressionParams = RegressionParams()
    report: ReportParams = ReportParams()

    @model_validator(mode="after")
    def _check_corpora(self) -> "Params":
        if self.content.source == "pretrain" and not self.content.corpora:
            raise ValueError("content.corpora: required because content.source is pretrain")
        if self.quality.source == "pretrain" and not self.chunks.corpora:
            raise ValueError("chunks.corpora: required because quality.source is pretrain")
        if self.content.training and self.content.training.distortion_losses:
            raise ValueError("content.training.distortion_losses: only for the quality expert")
        if self.quality.source == "pretrain" and self.chunks.n_aug > self.bank.count:
            raise ValueError(
                f"chunks.n_aug: {self.chunks.n_aug} distinct types needed, but the bank has"
                f" {self.bank.count}; lower it, or add types to bank.types or bank.extras"
            )
        for name in EXPERTS:
            backbone = self.expert(name).backbone
            if self.features.pooling == "stages" and backbone in WITHOUT_STAGES:
                raise ValueError(
                    f"features.pooling: the stages of {backbone} cannot be identified; use last, or"
                    f" another {name}.backbone"
                )
        return self

    def expert(self, name: ExpertName) -> ExpertParams:
        """Return the section of one expert."""
        return self.content if name == "content" else self.quality

    def corpora(self) -> list[str]:
        """Return the corpora that are used for training, without duplicates."""
        named = list(self.chunks.corpora) if self.quality.source == "pretrain" else []
        if self.content.source == "pretrain":
            named += self.content.corpora
        return list(dict.fromkeys(named))

    def feature_datasets(self) -> list[str]:
        """Return the datasets that need features: evaluation datasets and degraded copies."""
        return list(dict.fromkeys([*self.datasets, *self.degraded_datasets()]))

    def degraded_datasets(self) -> list[str]:
        """Return the dataset of degraded copies for the ranking term, if any."""
        return [self.regression.ranking.dataset] if self.regression.ranking else []

    def probe_corpora(self) -> list[str]:
        """Return the training corpora that the content expert is not trained on."""
        learnt = self.content.corpora if self.content.source == "pretrain" else []
        return [name for name in self.corpora() if name not in learnt]


def tree_digest(tree: Any) -> str:
    """Return the SHA-256 of JSON data, independent of key order."""
    text = json.dumps(tree, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def load_params(
    path: Path,
    datasets: Collection[str] | None = None,
    corpora: Collection[str] | None = None,
    distortions: Callable[[], Collection[str]] | None = None,
) -> Params:
    """Read and validate a parameter file.

    Args:
        path: the YAML file.
        datasets: allowed names in ``datasets``; None accepts any.
        corpora: allowed names in ``corpora``; None accepts any.
        distortions: returns the allowed names in ``bank``. It is only called if ``bank`` contains
            names, because the bank takes seconds to import. None accepts any.

    Raises:
        BadInputError: the file is missing, is not YAML, or has an invalid key or value.
    """
    try:
        tree = read_yaml(path)
    except FileNotFoundError:
        raise BadInputError(
            f"{path}: not found; create it with: reiqa preset demo, or for the datasets of"
            " datasets.yaml: reiqa preset bundle"
        ) from None
    except IsADirectoryError:
        raise BadInputError(f"{path}: is a folder; name a parameter file") from None
    except UnicodeDecodeError:
        raise BadInputError(f"{path}: is not UTF-8 text; save the file as UTF-8") from None
    except (OSError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise BadInputError(f"{path}: not readable as YAML: {reason}") from None
    try:
        params = Params.model_validate(tree)
    except ValidationError as error:
        raise BadInputError(describe_validation_error(path, error, Params, RENAMED)) from None
    _check_known(path, "datasets", params.datasets, datasets)
    _check_known(path, "regression.ranking.dataset", params.degraded_datasets(), datasets)
    _check_known(path, "chunks.corpora", params.chunks.corpora, corpora)
    _check_known(path, "content.corpora", params.content.corpora, corpora)
    named = [] if params.bank.types == "published" else params.bank.types
    if distortions is not None and (named or params.bank.extras):
        _check_known(path, "bank.types", named, distortions())
        _check_known(path, "bank.extras", params.bank.extras, distortions())
    return params


def _check_known(path: Path, key: str, names: list[str], known: Collection[str] | None) -> None:
    for name in names:
        if known is not None and name not in known:
            raise BadInputError(
                f"{path}: {key}: unknown name {name!r}; allowed: {', '.join(sorted(known))}"
            )
