"""``reiqa bundle``: from a finished run to a folder that can be given away."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save as to_bytes

from reiqa import catalog, layout, stages, store
from reiqa.errors import BadInputError
from reiqa.params import EXPERTS, VARIANTS, ExpertName
from reiqa.progress import log
from reiqa.regression import regressor
from reiqa.regression.fitting import regressor_path
from reiqa.regression.regressor import Regressor
from reiqa.regression.scaler import Vector
from reiqa.scoring import bundle, card
from reiqa.scoring.bundle import (
    Bundle,
    BundleExpert,
    BundleRecipe,
    Manifest,
    RatingScale,
    ResidualQuantiles,
)

#: What a bundle that ships with the package may weigh.
LIMIT_BYTES = 40_000_000

_COVERAGE = 0.9
_GROUPS = 10
_LEAST_IN_GROUP = 100

# Of an expert's preprocessing: what is not the recipe's but the expert's own.
_OWN = ("weights", "normalisation")


def build_bundle(
    dataset: str, out: Path, notes: Path | None = None, others: Sequence[Path] = ()
) -> Bundle:
    """Put both experts and a dataset's regressor into a bundle.

    Args:
        dataset: `reiqa fit` has been run on it, with the experts that are there.
        out: the folder to write; the bundle is named as it is.
        notes: a text about what the scorer is bad at, for the card.
        others: results of the same experts by further protocols, to be told beside the first.

    Raises:
        BadInputError: a part is missing, damaged, or not of the same run as the others.
    """
    path = regressor_path(dataset)
    told, result = regressor.read_card(path), store.read_json(layout.result(dataset))
    store.verified_digest(layout.result(dataset))
    kept = regressor.load_regressor(path, "both")
    for expert in EXPERTS:
        if store.verified_digest(layout.model(expert)) != told["experts"][expert]["weights"]:
            raise BadInputError(
                f"{layout.model(expert)}: not the expert that {path} was fitted with;"
                f" run: reiqa features, then reiqa fit --dataset {dataset}"
            )
    fitted = _fitted(dataset, told)
    for name in (*bundle.PARTS, bundle.MANIFEST, bundle.CARD):
        store.remove_partials(out / name)
    manifest = Manifest(
        format=bundle.FORMAT,
        name=out.absolute().name,
        scale="0 to 100 points, higher is better",
        intercept=float(fitted.points(kept.link(np.array([kept.intercept])))[0]),
        recipe=_recipe(path, told["experts"]),
        experts=_experts(told, result),
        fitted=fitted,
        residuals=residual_quantiles(
            *_left_out(layout.companion(layout.result(dataset), "predictions.csv")), fitted
        ),
        metrics=(_metrics(result), *(_same_experts(other, result) for other in others)),
        parts=_write_parts(out, _head(kept, fitted)),
        provenance=_provenance(dataset),
    )
    store.write_json(out / bundle.MANIFEST, store.add_checksum(manifest.model_dump(mode="json")))
    text = notes.read_text(encoding="utf-8") if notes else ""
    store.write_text(out / bundle.CARD, card.render_card(manifest, text))
    size = sum((out / part).stat().st_size for part in bundle.PARTS)
    large = f"; over the {LIMIT_BYTES / 1e6:.0f} MB of a bundle that is shipped"
    log(f"{out}: {size / 1e6:.1f} MB{large if size > LIMIT_BYTES else ''}")
    return bundle.load_bundle(out)


def residual_quantiles(predicted: Vector, rated: Vector, fitted: RatingScale) -> ResidualQuantiles:
    """Return where nine tenths of ratings lie around predictions, by the predicted score.

    Args:
        predicted: of images that the regressor had not seen, on the rating scale.
        rated: their ratings.
        fitted: says what the scale is.
    """
    scores = fitted.points(predicted)
    offsets = fitted.points(rated) - scores
    order = np.argsort(scores, kind="stable")
    groups = max(1, min(_GROUPS, len(scores) // _LEAST_IN_GROUP))
    tail = (1 - _COVERAGE) / 2
    at, low, high = [], [], []
    for group in np.array_split(order, groups):
        at.append(float(scores[group].mean()))
        ends = np.quantile(offsets[group], [tail, 1 - tail])
        low.append(float(ends[0]))
        high.append(float(ends[1]))
    return ResidualQuantiles(
        coverage=_COVERAGE,
        count=len(scores),
        at=_rounded(at),
        low=_rounded(low),
        high=_rounded(high),
    )


def _rounded(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(round(value, 3) for value in values)


def _fitted(dataset: str, told: Mapping[str, Any]) -> RatingScale:
    entry, variant = catalog.get_entry(dataset), told["variants"]["both"]
    return RatingScale(
        dataset=dataset,
        title=entry.title,
        images=told["n"],
        proxy=told["proxy"],
        low=told["rating"]["low"],
        high=told["rating"]["high"],
        model=told["model"],
        alpha=variant["alpha"],
        l1_ratio=variant["l1_ratio"],
        licence=entry.licence,
        citation=entry.citation,
    )


def _recipe(path: Path, experts: Mapping[ExpertName, Mapping[str, Any]]) -> BundleRecipe:
    content, quality = (
        {name: value for name, value in experts[expert].items() if name not in _OWN}
        for expert in EXPERTS
    )
    if content != quality:
        raise BadInputError(f"{path}: its experts saw images differently: {content}, {quality}")
    return BundleRecipe.model_validate(content)


def _experts(told: Mapping[str, Any], result: Mapping[str, Any]) -> dict[ExpertName, BundleExpert]:
    experts: dict[ExpertName, BundleExpert] = {}
    scales = len(told["experts"]["content"]["scales"])
    for expert in EXPERTS:
        own = store.read_json(layout.companion(layout.model(expert), "json"))
        experts[expert] = BundleExpert(
            backbone=own["backbone"],
            normalisation=told["experts"][expert]["normalisation"],
            width=result["experts"][expert]["width"] // scales,
            licence=own.get("licence", "MIT, with reiqa"),
        )
    return experts


def _left_out(path: Path) -> tuple[Vector, Vector]:
    """Read predictions and ratings of every split's test part."""
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
        columns = [[float(row[name]) for row in rows] for name in ("both", "mos")]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInputError(f"{path}: no table of predictions ({error!r}); run reiqa fit") from None
    if not rows:
        raise BadInputError(f"{path}: holds no prediction; run reiqa fit again")
    return np.array(columns[0]), np.array(columns[1])


def _metrics(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a result says of each variant, less its single splits."""
    variants = {}
    for variant in VARIANTS:
        section = result["variants"][variant]
        variants[variant] = {
            name: {key: value for key, value in section[name].items() if key != "splits"}
            for name in ("srcc", "plcc", "rmse")
        }
    return {
        "dataset": result["dataset"],
        "protocol": result["protocol"]["text"],
        "splits": result["protocol"]["splits"],
        "images": result["n"],
        "variants": variants,
        "tests": result["tests"],
    }


def _same_experts(path: Path, first: Mapping[str, Any]) -> dict[str, Any]:
    other = store.read_json(path)
    try:
        weights = [tree["experts"][e]["weights"] for tree in (other, first) for e in EXPERTS]
        if weights[:2] != weights[2:]:
            raise BadInputError(f"{path}: a result of other experts")
        return _metrics(other)
    except (KeyError, TypeError) as error:
        raise BadInputError(f"{path}: not a result of reiqa fit ({error!r})") from None


def _head(kept: Regressor, fitted: RatingScale) -> dict[str, Vector]:
    """Return a regressor's numbers in units of features, its curve in points."""
    scaling = kept.scaling
    reach = np.zeros_like(scaling.mean)
    np.divide(scaling.clip, scaling.inverse, out=reach, where=scaling.inverse > 0)
    return {
        "slope": kept.weights * scaling.inverse,
        "mean": scaling.mean,
        "reach": reach,
        "origin": np.array([kept.intercept]),
        "curve_at": kept.link.at,
        "curve_to": fitted.points(kept.link.to),
    }


def _write_parts(out: Path, head: dict[str, Vector]) -> dict[str, str]:
    for expert in EXPERTS:
        with store.atomic(out / f"{expert}.safetensors") as temporary:
            temporary.write_bytes(layout.model(expert).read_bytes())
    with store.atomic(out / bundle.REGRESSOR) as temporary:
        temporary.write_bytes(to_bytes(head))
    return {part: store.file_digest(out / part) for part in bundle.PARTS}


def _provenance(dataset: str) -> dict[str, Any]:
    """Tell of each part by which command it was made, of what, and what its own card says."""
    parts: dict[str, Any] = {}
    for expert in EXPERTS:
        path = layout.model(expert)
        parts[expert] = {**_made(path), "card": store.read_json(layout.companion(path, "json"))}
        parts[f"features/{expert}"] = _made(layout.features(dataset, expert))
    parts["index"] = _made(layout.index(dataset))
    parts["regressor"] = _made(layout.result(dataset))
    parts["bundle"] = {"revision": store.revision()}
    return parts


def _made(path: Path) -> dict[str, Any]:
    made = store.read_provenance(path)
    if made is None:
        raise BadInputError(f"{path}: no provenance beside it; run: {stages.command_for(path)}")
    return {
        "command": made.command,
        "revision": made.revision,
        "parameters": dict(made.parameters),
        "inputs": dict(made.inputs),
        "digest": made.digest,
    }
