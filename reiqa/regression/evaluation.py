"""Run the protocol on a dataset: all splits of all variants, then the final regressors."""

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median_low

from threadpoolctl import threadpool_limits

from reiqa import layout, store
from reiqa import params as parameters
from reiqa.params import VARIANTS, Params, RegressionParams, Variant
from reiqa.progress import progress_bar
from reiqa.regression import splits
from reiqa.regression.dataset import RatedFeatures
from reiqa.regression.protocol import SplitResult, refit_all, run_split
from reiqa.regression.ranking import DegradedDataset, load_degraded
from reiqa.regression.regressor import AnyRegressor
from reiqa.regression.ridge_path import Penalty, penalty_grid
from reiqa.regression.splits import Split
from reiqa.stages import fit_params, stage_parameters


class SplitWarnings:
    """Warnings of single splits, grouped by reason."""

    def __init__(self) -> None:
        """Create an empty collection."""
        self._places: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))

    def add(self, reason: str, variant: Variant, split: int) -> None:
        """Add a warning of one split and variant."""
        self._places[reason][variant].append(split)

    def lines(self) -> list[str]:
        """Return one line per reason, with the affected variants and splits."""
        return [
            f"{reason} ("
            + "; ".join(f"{name}, split {', '.join(map(str, s))}" for name, s in places.items())
            + ")"
            for reason, places in self._places.items()
        ]


@dataclass(frozen=True)
class CVResult:
    """Results of all splits of a dataset.

    Attributes:
        splits: splits of the rows of the sample.
        results: one result per split, by variant.
        notes: warnings.
    """

    splits: list[Split]
    results: dict[Variant, list[SplitResult]]
    notes: SplitWarnings

    def final_penalty(self, variant: Variant) -> Penalty:
        """Return the lower median of the chosen penalties, used for the final regressor."""
        return median_low([result.penalty for result in self.results[variant]])


def cross_validate(
    sample: RatedFeatures,
    splits: Sequence[Split],
    settings: RegressionParams,
    threads: int = 1,
    variants: Sequence[Variant] = VARIANTS,
    degraded: DegradedDataset | None = None,
) -> CVResult:
    """Run every split of every variant.

    Each split runs in a single thread, including its linear algebra. The results therefore do not
    depend on the number of threads.

    Raises:
        BadInputError: a part of a split is empty, or the ratings do not vary.
    """
    local = [sample.to_local_rows(split) for split in splits]
    penalties = penalty_grid(settings)
    places = [(number, variant) for number in range(len(local)) for variant in variants]

    def run(place: tuple[int, Variant]) -> SplitResult:
        number, variant = place
        pairs = degraded.pairs_of(variant) if degraded else None
        values, ratings = sample.features_of(variant), sample.ratings
        content = _content(sample, variant)
        return run_split(values, ratings, local[number], penalties, settings, pairs, content)

    notes = SplitWarnings()
    results: dict[Variant, list[SplitResult]] = {variant: [] for variant in variants}
    with (
        threadpool_limits(1),
        ThreadPoolExecutor(threads) as pool,
        progress_bar(f"fit {sample.dataset}", len(places), unit="fits") as bar,
    ):
        for (number, variant), result in zip(places, pool.map(run, places), strict=True):
            for note in result.notes:
                notes.add(note, variant, number)
            results[variant].append(result)
            bar.update()
    return CVResult(local, results, notes)


@dataclass(frozen=True)
class EvaluatedDataset:
    """A dataset after cross-validation.

    Attributes:
        sample: the usable images.
        splits: splits of the rows of the index.
        evaluation: the results of all splits.
        custom_splits: whether the user provided the splits.
        settings: regression parameters, without a ranking term on copies of another dataset.
        degraded: degraded copies for the ranking term, if used.
        key: digest of everything the regressors depend on; saved regressors are only reused if
            their key matches.
    """

    sample: RatedFeatures
    splits: Sequence[Split]
    evaluation: CVResult
    custom_splits: bool
    settings: RegressionParams
    degraded: DegradedDataset | None
    key: str


def evaluate_dataset(
    sample: RatedFeatures, params: Params, splits_file: Path | None = None
) -> EvaluatedDataset:
    """Run the protocol on a dataset.

    Args:
        sample: the usable images.
        params: uses ``regression``, ``seed`` and ``compute.threads``.
        splits_file: a table of splits that replaces those of the protocol.

    Raises:
        BadInputError: splits or degraded copies do not match the sample, or it is too small.
    """
    parts = _splits(sample, params, splits_file)
    settings = fit_params(params, sample.dataset).regression
    degraded = load_degraded(sample, settings.ranking.dataset) if settings.ranking else None
    threads = params.compute.threads
    evaluation = cross_validate(sample, parts, settings, threads, degraded=degraded)
    key = regressor_key(sample, params, splits_file)
    return EvaluatedDataset(
        sample, parts, evaluation, splits_file is not None, settings, degraded, key
    )


def fit_final(evaluated: EvaluatedDataset) -> dict[Variant, AnyRegressor]:
    """Fit the final regressors on all usable images with the median penalty."""
    with threadpool_limits(1):
        return {variant: _refit(evaluated, variant) for variant in VARIANTS}


def _refit(evaluated: EvaluatedDataset, variant: Variant) -> AnyRegressor:
    sample, penalty = evaluated.sample, evaluated.evaluation.final_penalty(variant)
    pairs = evaluated.degraded.pairs_of(variant) if evaluated.degraded else None
    values, content = sample.features_of(variant), _content(sample, variant)
    return refit_all(values, sample.ratings, penalty, evaluated.settings, pairs, content)


def _content(sample: RatedFeatures, variant: Variant) -> int | None:
    """Return the number of content features of a variant of two experts, else None."""
    return sample.widths["content"] if variant == "both" else None


def regressor_key(sample: RatedFeatures, params: Params, splits_file: Path | None = None) -> str:
    """Return the digest of everything that the regressors of a dataset depend on."""
    copies = fit_params(params, sample.dataset).degraded_datasets()
    return parameters.tree_digest(
        {
            "parameters": stage_parameters(params, "fit", sample.dataset),
            "recipes": sample.recipes,
            "index": store.file_digest(layout.index(sample.dataset)),
            "images": sample.digests,
            "copies": [store.file_digest(path) for path in layout.regression_inputs(*copies)],
            "splits": store.file_digest(splits_file) if splits_file else None,
        }
    )


def _splits(sample: RatedFeatures, params: Params, file: Path | None) -> Sequence[Split]:
    settings, index = params.regression, sample.index
    if file:
        return splits.read_splits(file, index, settings.fractions, params.seed)
    return splits.make_splits(
        index, settings.protocol, settings.splits, settings.fractions, params.seed
    )
