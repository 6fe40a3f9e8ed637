"""params.yaml as a checked, typed, frozen tree.

An unknown key, a wrong type or an impossible value ends in one line that names the file, the
key and what is allowed.
"""

import hashlib
import json
from collections.abc import Callable, Collection
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from reiqa.backbone_names import BACKBONES, EFFICIENTNET_LITE0, FIXED_SIZE, WITHOUT_STAGES
from reiqa.errors import BadInputError
from reiqa.validation import describe_validation_error, read_yaml

ExpertName: TypeAlias = Literal["content", "quality"]
Pooling: TypeAlias = Literal["last", "stages"]
Variant: TypeAlias = Literal["content", "quality", "both"]

EXPERTS: tuple[ExpertName, ...] = ("content", "quality")
VARIANTS: tuple[Variant, ...] = ("content", "quality", "both")

#: Distortion types of the paper, which ``bank.types: published`` stands for; a test holds them to
#: the bank, which takes seconds to load.
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


def _check_scale(value: float) -> float:
    if value not in (1.0, 0.5):
        raise ValueError("allowed: 1.0, 0.5")
    return value


Scale: TypeAlias = Annotated[float, AfterValidator(_check_scale)]


def _check_unique(values: list[Any]) -> list[Any]:
    if len(set(values)) < len(values):
        raise ValueError(f"each may stand once, not {values!r}")
    return values


Names: TypeAlias = Annotated[list[str], AfterValidator(_check_unique)]
Scales: TypeAlias = Annotated[
    list[Scale], Field(min_length=1, max_length=2), AfterValidator(_check_unique)
]


class ParamsSection(BaseModel):
    """A part of params.yaml: no key but those declared, no change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ComputeParams(ParamsSection):
    """Where and how numbers are computed; device and precision are part of a result's identity.

    Attributes:
        device: ``auto`` takes a GPU where there is one, and waits for it to be free; else the CPU.
        threads: CPU threads of one job; sums depend on it in the last bit.
        precision: ``bf16`` autocasts encoders on a GPU.
        compile: pretraining passes both encoders through ``torch.compile``.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Positive = 1
    precision: Literal["float32", "bf16"] = "float32"
    compile: bool = False


class DataParams(ParamsSection):
    """What may be missing.

    Attributes:
        allow_missing: index a set of which some listed images are absent, and say how many.
    """

    allow_missing: bool = False


class BankParams(ParamsSection):
    """Which distortions the quality expert learns from.

    Attributes:
        types: ``published`` (the 25 of the paper) or a list of their names.
        extras: names of further types: motion blur, JPEG 2000 and the like.
    """

    types: Literal["published"] | Annotated[Names, Field(min_length=1)] = "published"
    extras: Names = []

    @property
    def count(self) -> int:
        """How many distinct types there are to draw from; an extra may be among the others."""
        named = PUBLISHED_TYPES if self.types == "published" else self.types
        return len({*named, *self.extras})


class ChunkParams(ParamsSection):
    """How a photograph becomes a chunk: n_aug + 1 versions of one pair of crops.

    Attributes:
        corpora: photographs without ratings to learn quality from.
        n_aug: distinct distortion types in a chunk, beside the undistorted version.
        patch: side of a crop, in pixels.
        ola: least and greatest overlap of the two crops, as a share of a crop's area.
        scales: the scales at which a chunk is cut.
        swap: exchange query and key crop in half of the versions.
        windows_per_image: windows stored of each photograph.
        images_per_shard: photographs whose windows make one shard.
    """

    corpora: Annotated[Names, Field(min_length=1)]
    n_aug: Positive = 11
    patch: Annotated[int, Field(ge=16, le=512)] = 160
    ola: tuple[Fraction, Fraction] = (0.10, 0.30)
    scales: Scales = [1.0, 0.5]
    swap: bool = True
    windows_per_image: Positive = 1
    images_per_shard: Positive = 1000

    def shard_count(self, images: int) -> int:
        """Return how many shards a corpus of that many photographs makes."""
        return -(-images // self.images_per_shard)

    @model_validator(mode="after")
    def _ordered(self) -> "ChunkParams":
        if self.ola[0] > self.ola[1]:
            raise ValueError(
                f"ola: the least overlap {self.ola[0]} exceeds the greatest {self.ola[1]}"
            )
        return self


class TrainingParams(ParamsSection):
    """MoCo-v2's settings.

    Attributes:
        epochs: passes over the corpus.
        batch_size: photographs a step, over all processes.
        optimizer: which rule updates the query encoder.
        learning_rate: ``auto`` scales with the pairs a step, by the published rule.
        weight_decay: decay of all parameters but one-dimensional ones.
        warmup_epochs: epochs over which the learning rate rises, step by step.
        momentum: of the key encoder.
        temperature: of the contrastive softmax.
        queue_size: keys kept as negatives.
        projection_dim: length of the embedding that the loss sees.
        negatives: ``queue+chunk`` adds the other versions of the same chunk as negatives.
        batchnorm: how processes share batch statistics.
        bn_splits: equal parts of a process's batch that batch normalization treats separately.
            Statistics shared by a query and its key leak the positive; with ``shuffle`` a key's
            part is drawn at random, as if each part had a device of its own.
        checkpoint_every: steps between checkpoints.
        keep: checkpoints kept.
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
    batchnorm: Literal["shuffle", "sync"] = "shuffle"
    bn_splits: Annotated[int, Field(ge=1)] = 1
    checkpoint_every: Positive = 100
    keep: Positive = 2


def _known_backbone(name: str) -> str:
    if name in BACKBONES:
        return name
    if name in FIXED_SIZE:
        raise ValueError(f"{name} takes images of one size only; choose another")
    near = "".join(f"did you mean {each}? " for each in get_close_matches(name, BACKBONES, 1))
    raise ValueError(
        f"unknown name {name!r}; {near}allowed: {EFFICIENTNET_LITE0} and torchvision's"
        f" classification models, such as resnet50, convnext_tiny, swin_t ({len(BACKBONES)} in all)"
    )


Backbone: TypeAlias = Annotated[str, AfterValidator(_known_backbone)]


class ExpertParams(ParamsSection):
    """One of the two encoders and where its weights come from.

    Attributes:
        source: trained here, imported from ``file``, or shipped inside a package.
        backbone: a torchvision model's name, or ``efficientnet_lite0``.
        file: the checkpoint to import.
        corpora: photographs for the content expert's pretraining (quality learns from chunks).
        view: side of a content view in pixels.
        training: needed where ``source`` is ``pretrain``.
    """

    source: Literal["pretrain", "import", "package"]
    backbone: Backbone = "resnet50"
    file: str | None = None
    corpora: Names = []
    view: Annotated[int, Field(ge=32)] = 224
    training: TrainingParams | None = None

    @model_validator(mode="after")
    def _complete(self) -> "ExpertParams":
        if self.source == "pretrain" and self.training is None:
            raise ValueError("training: needed because source is pretrain")
        if self.source == "import" and self.file is None:
            raise ValueError("file: needed because source is import")
        if self.source == "package" and self.backbone != "efficientnet_lite0":
            raise ValueError(
                f"backbone: no package ships {self.backbone} weights; allowed: efficientnet_lite0"
            )
        return self


class FeatureParams(ParamsSection):
    """How a photograph becomes a feature vector.

    Attributes:
        scales: the encoder sees the photograph at each; the features stand side by side.
        pooling: ``last`` is the paper's mean of the last stage; ``stages`` puts mean and deviation
            of every stage before it.
        batch: photographs of one shape encoded at once.
        max_pixels: a photograph larger than this is scaled down to it, and reported.
    """

    scales: Scales = [1.0, 0.5]
    pooling: Pooling = "last"
    batch: Positive = 8
    max_pixels: Annotated[int, Field(ge=65_536)] = 50_000_000


class RankingParams(ParamsSection):
    """A ranking term: scores of ever more degraded copies of a photograph must fall.

    Attributes:
        dataset: a set of degraded copies; only those of training photographs are used.
        margin: by how much the score must fall from one level to the next, in standard deviations
            of the ratings.
        weight: of one pair of neighbouring levels, relative to one rated photograph.
    """

    dataset: str
    margin: Annotated[float, Field(gt=0)] = 0.7
    weight: Annotated[float, Field(gt=0)] = 0.5


class RegressionParams(ParamsSection):
    """How features become scores, and how that is judged.

    Attributes:
        model: linear regressor.
        alphas: penalties tried: the least, the greatest, and how many between them (log grid).
        l1_ratios: mixing shares tried by the elastic net.
        target: what is fitted: the ratings as they are, or their normal scores, from which a
            monotone curve leads back.
        ranking: degraded copies whose order the regressor is fitted to as well; ridge only.
        clip: deviations from its mean beyond which a feature says no more; None leaves it.
        splits: random splits a dataset.
        fractions: train, validation and test share of the references.
        protocol: ``official`` takes a dataset's own split where it has one.
        bootstrap: resamples for the interval of a correlation.
    """

    model: Literal["ridge", "elasticnet"] = "ridge"
    alphas: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)], Positive] = (
        1e-3,
        1e6,
        25,
    )
    l1_ratios: Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=1)] = [0.5]
    target: Literal["ratings", "normal_scores"] = "ratings"
    clip: Annotated[float, Field(gt=0)] | None = None
    ranking: RankingParams | None = None
    splits: Positive = 10
    fractions: tuple[Fraction, Fraction, Fraction] = (0.7, 0.1, 0.2)
    protocol: Literal["official", "random"] = "official"
    bootstrap: Positive = 1000

    @model_validator(mode="after")
    def _sound(self) -> "RegressionParams":
        if abs(sum(self.fractions) - 1) > 1e-9:
            raise ValueError(f"fractions: must add up to 1, not {sum(self.fractions):g}")
        if self.alphas[0] > self.alphas[1]:
            raise ValueError("alphas: the least penalty exceeds the greatest")
        if self.ranking and self.model != "ridge":
            raise ValueError("ranking: for model ridge only")
        return self


class ReportParams(ParamsSection):
    """The page at the end.

    Attributes:
        thumbnails: best and worst predictions shown of each dataset.
    """

    thumbnails: Annotated[int, Field(ge=0, le=50)] = 6


#: Keys of earlier versions, and what they are called now.
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
    """The whole of params.yaml.

    Attributes:
        preset: name of the preset this file was written from.
        seed: from which every random draw derives.
        datasets: rated sets to evaluate on.
    """

    preset: str
    seed: Annotated[int, Field(ge=0)] = 0
    datasets: Annotated[Names, Field(min_length=1)]
    compute: ComputeParams = ComputeParams()
    data: DataParams = DataParams()
    bank: BankParams = BankParams()
    chunks: ChunkParams
    content: ExpertParams
    quality: ExpertParams
    features: FeatureParams = FeatureParams()
    regression: RegressionParams = RegressionParams()
    report: ReportParams = ReportParams()

    @model_validator(mode="after")
    def _check_corpora(self) -> "Params":
        if self.content.source == "pretrain" and not self.content.corpora:
            raise ValueError("content.corpora: needed because content.source is pretrain")
        if self.quality.source == "pretrain" and self.chunks.n_aug > self.bank.count:
            raise ValueError(
                f"chunks.n_aug: {self.chunks.n_aug} distinct types are wanted, the bank has"
                f" {self.bank.count}; lower it, or name more in bank.types and bank.extras"
            )
        for name in EXPERTS:
            backbone = self.expert(name).backbone
            if self.features.pooling == "stages" and backbone in WITHOUT_STAGES:
                raise ValueError(
                    f"features.pooling: the stages of {backbone} cannot be told apart; use last, or"
                    f" another {name}.backbone"
                )
        return self

    def expert(self, name: ExpertName) -> ExpertParams:
        """Return the section of one expert."""
        return self.content if name == "content" else self.quality

    def corpora(self) -> list[str]:
        """Return every corpus that some stage learns from, each once, in order of mention."""
        named = list(self.chunks.corpora) if self.quality.source == "pretrain" else []
        if self.content.source == "pretrain":
            named += self.content.corpora
        return list(dict.fromkeys(named))

    def feature_datasets(self) -> list[str]:
        """Return every set whose features are needed: those evaluated, and the copies."""
        return list(dict.fromkeys([*self.datasets, *self.degraded_datasets()]))

    def degraded_datasets(self) -> list[str]:
        """Return the set of copies whose order the regressors are held to, if any."""
        return [self.regression.ranking.dataset] if self.regression.ranking else []

    def probe_corpora(self) -> list[str]:
        """Return the corpora at hand that the content expert does not learn from."""
        learnt = self.content.corpora if self.content.source == "pretrain" else []
        return [name for name in self.corpora() if name not in learnt]


def tree_digest(tree: Any) -> str:
    """Return the SHA-256 of JSON data, whatever the order of its keys."""
    text = json.dumps(tree, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def load_params(
    path: Path,
    datasets: Collection[str] | None = None,
    corpora: Collection[str] | None = None,
    distortions: Callable[[], Collection[str]] | None = None,
) -> Params:
    """Read and check a parameter file.

    Args:
        path: the YAML file.
        datasets: names that ``datasets`` may hold; None accepts any.
        corpora: names that ``corpora`` may hold; None accepts any.
        distortions: gives the names that ``bank`` may hold, and is asked only where it holds any:
            the bank takes seconds to load. None accepts any.

    Raises:
        BadInputError: the file is missing, is not YAML, or holds a key or value that is not
            allowed; the message has one line a fault.
    """
    try:
        tree = read_yaml(path)
    except FileNotFoundError:
        raise BadInputError(f"{path}: no such file; write one with: reiqa preset demo") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise BadInputError(f"{path}: not readable as YAML: {reason}") from None
    try:
        params = Params.model_validate(tree)
    except ValidationError as error:
        raise BadInputError(describe_validation_error(path, error, Params, RENAMED)) from None
    _check_known(path, "datasets", params.datasets, datasets)
    _check_known(path, "regression.order.dataset", params.degraded_datasets(), datasets)
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
