"""``reiqa bundle``: package the experts and regressor of a finished run as a portable folder."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save as to_bytes

from reiqa import catalog, encoders, images, layout, stages, store, text
from reiqa.backbone_names import PACKAGED_LICENCE
from reiqa.data.index import read_index
from reiqa.errors import BadInputError
from reiqa.params import EXPERTS, VARIANTS, ExpertName, Pooling
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
from reiqa.scoring.onnx import write_expert_graph

#: Maximum size of a bundle that ships with the package.
LIMIT_BYTES = 40_000_000

_COVERAGE = 0.9
_GROUPS = 10
_MIN_GROUP_SIZE = 100

# Keys of an expert's preprocessing that differ between experts and are not part of the recipe.
_EXPERT_KEYS = ("weights", "normalisation")


def build_bundle(
    dataset: str, out: Path, notes: Path | None = None, others: Sequence[Path] = ()
) -> Bundle:
    """Bundle both experts and the regressor of a dataset.

    Args:
        dataset: name of the dataset; `reiqa fit` must have been run with the current experts.
        out: folder to write; its name becomes the name of the bundle.
        notes: text file with limitations, for the model card.
        others: results of the same experts under other protocols, for the model card.

    Raises:
        BadInputError: a part is missing, damaged, or from a different run.
    """
    limits = _read_notes(notes) if notes else ""
    path = regressor_path(dataset)
    card_data, result = regressor.read_card(path), store.read_json(layout.result(dataset))
    store.verified_digest(layout.result(dataset))
    fitted_regressor = regressor.load_regressor(path, "both")
    for expert in EXPERTS:
        if store.verified_digest(layout.model(expert)) != card_data["experts"][expert]["weights"]:
            raise BadInputError(
                f"{layout.model(expert)}: not the expert that {path} was fitted with."
                f" Run: reiqa features, then reiqa fit --dataset {dataset}"
            )
    fitted = _fitted(dataset, card_data)
    for name in (*bundle.PARTS, bundle.MANIFEST, bundle.CARD):
        store.remove_partials(out / name)
    recipe = _recipe(path, card_data["experts"])
    manifest = Manifest(
        format=bundle.FORMAT,
        name=out.absolute().name,
        scale="0 to 100 points, higher is better",
        intercept=float(
            fitted.points(fitted_regressor.link(np.array([fitted_regressor.intercept])))[0]
        ),
        recipe=recipe,
        experts=_experts(card_data, result),
        fitted=fitted,
        residuals=residual_quantiles(
            *_left_out(layout.companion(layout.result(dataset), "predictions.csv")), fitted
        ),
        metrics=(_metrics(result), *(_same_experts(other, result) for other in others)),
        parts=_write_parts(out, _head(fitted_regressor, fitted), recipe.pooling),
        provenance=_provenance(dataset),
    )
    store.write_json(out / bundle.MANIFEST, store.add_checksum(manifest.model_dump(mode="json")))
    store.write_text(out / bundle.CARD, card.render_card(manifest, limits))
    size = sum((out / part).stat().st_size for part in bundle.PARTS)
    large = f"; exceeds the limit of {LIMIT_BYTES / 1e6:.0f} MB for bundles in the package"
    log(f"{out}: {size / 1e6:.1f} MB{large if size > LIMIT_BYTES else ''}")
    return bundle.load_bundle(out)


def _read_notes(path: Path) -> str:
    try:
        return text.decode(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BadInputError(f"{path}: not readable as text ({error})") from None


def residual_quantiles(predicted: Vector, rated: Vector, fitted: RatingScale) -> ResidualQuantiles:
    """Return the 90 % interval of residuals as a function of the predicted score.

    Args:
        predicted: predictions for held-out images, on the rating scale.
        rated: ratings of these images.
        fitted: the rating scale.
    """
    scores = fitted.points(predicted)
    offsets = fitted.points(rated) - scores
    order = np.argsort(scores, kind="stable")
    groups = max(1, min(_GROUPS, len(scores) // _MIN_GROUP_SIZE))
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


def _fitted(dataset: str, card_data: Mapping[str, Any]) -> RatingScale:
    entry, variant = catalog.get_entry(dataset), card_data["variants"]["both"]
    return RatingScale(
        dataset=dataset,
        title=entry.title,
        images=card_data["n"],
        proxy=card_data["proxy"],
        low=card_data["rating"]["low"],
        high=card_data["rating"]["high"],
        model=card_data["model"],
        alpha=variant["alpha"],
        l1_ratio=variant["l1_ratio"],
        licence=entry.licence,
        citation=entry.citation,
        sides=_sides(dataset),
    )


def _sides(dataset: str) -> tuple[int, int] | None:
    """Return 5 % and 95 % quantile of the shorter side of the rated images, if they are here."""
    root, names = layout.image_folder(dataset), read_index(layout.index(dataset)).images
    try:
        sides = [min(images.read_size(root / name)) for name in names]
    except BadInputError:
        return None
    low, high = np.quantile(sides, [0.05, 0.95], method="nearest")
    return int(low), int(high)


def _recipe(path: Path, experts: Mapping[ExpertName, Mapping[str, Any]]) -> BundleRecipe:
    for expert in EXPERTS:
        if (precision := experts[expert]["precision"]) != "float32":
            raise BadInputError(
                f"{path}: fitted on features in {precision}, but a bundle scores in float32. Set"
                " features.precision to float32 and run: reiqa features, then reiqa fit"
            )
    content, quality = (
        {name: value for name, value in experts[expert].items() if name not in _EXPERT_KEYS}
        for expert in EXPERTS
    )
    if content != quality:
        raise BadInputError(
            f"{path}: the experts have different preprocessing: {content}, {quality}"
        )
    return BundleRecipe.model_validate(content)


def _experts(
    card_data: Mapping[str, Any], result: Mapping[str, Any]
) -> dict[ExpertName, BundleExpert]:
    experts: dict[ExpertName, BundleExpert] = {}
    scales = len(card_data["experts"]["content"]["scales"])
    for expert in EXPERTS:
        expert_card = store.read_json(layout.companion(layout.model(expert), "json"))
        experts[expert] = BundleExpert(
            backbone=expert_card["backbone"],
            normalisation=card_data["experts"][expert]["normalisation"],
            width=result["experts"][expert]["width"] // scales,
            licence=expert_card.get("licence") or _trained_licence(expert),
        )
    return experts


def _trained_licence(expert: ExpertName) -> str:
    """Return the licence of weights that were trained here, which follows their initial weights."""
    provenance = store.read_provenance(layout.model(expert))
    recorded = provenance.parameters.get(expert, {}) if provenance else {}
    init = recorded.get("init", "random")
    if init == "random":
        return "MIT, with reiqa"
    if init == "package":
        origin = PACKAGED_LICENCE
    else:
        expert_card = encoders.bundle_card(layout.checkpoint(init))
        origin = expert_card.get("licence", f"that of {Path(init).name}")
    return f"initial weights: {origin}; training: MIT, with reiqa"


def _left_out(path: Path) -> tuple[Vector, Vector]:
    """Read predictions and ratings of the test parts of all splits."""
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
        columns = [[float(row[name]) for row in rows] for name in ("both", "mos")]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInputError(
            f"{path}: not a table of predictions ({error!r}); run reiqa fit"
        ) from None
    if not rows:
        raise BadInputError(f"{path}: contains no predictions; run reiqa fit again")
    return np.array(columns[0]), np.array(columns[1])


def _metrics(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metrics of a result for each variant, without values of single splits."""
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
            raise BadInputError(f"{path}: result of different experts")
        return _metrics(other)
    except (KeyError, TypeError) as error:
        raise BadInputError(f"{path}: not a result of reiqa fit ({error!r})") from None


def _head(fitted_regressor: Regressor, fitted: RatingScale) -> dict[str, np.ndarray]:
    """Return the regressor in units of raw features, with its calibration curve in points.

    Kernel terms keep half precision, which they were fitted in.
    """
    scaling = fitted_regressor.scaling
    reach = np.zeros_like(scaling.mean)
    np.divide(scaling.clip, scaling.inverse, out=reach, where=scaling.inverse > 0)
    tensors: dict[str, np.ndarray] = {
        "slope": fitted_regressor.weights * scaling.inverse,
        "mean": scaling.mean,
        "reach": reach,
        "origin": np.array([fitted_regressor.intercept]),
        "curve_at": fitted_regressor.link.at,
        "curve_to": fitted.points(fitted_regressor.link.to),
    }
    for expert, term in zip(EXPERTS, fitted_regressor.terms, strict=False):
        tensors |= {
            f"{expert}.axes": term.axes,
            f"{expert}.inverse": scaling.inverse[term.columns],
            f"{expert}.centres": term.centres,
            f"{expert}.coefficients": term.coefficients[:, 0],
            f"{expert}.gamma": np.array([term.gamma]),
        }
    return {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}


def _write_parts(out: Path, head: dict[str, np.ndarray], pooling: Pooling) -> dict[str, str]:
    for expert in EXPERTS:
        with store.atomic(out / f"{expert}.safetensors") as temporary:
            temporary.write_bytes(layout.model(expert).read_bytes())
        write_expert_graph(out / f"{expert}.safetensors", pooling, out / f"{expert}.onnx")
    with store.atomic(out / bundle.REGRESSOR) as temporary:
        temporary.write_bytes(to_bytes(head))
    return {part: store.file_digest(out / part) for part in bundle.PARTS}


def _provenance(dataset: str) -> dict[str, Any]:
    """Return command, inputs and card of each part of the bundle."""
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
    provenance = store.read_provenance(path)
    if provenance is None:
        raise BadInputError(f"{path}: provenance sidecar missing; run: {stages.command_for(path)}")
    return {
        "command": provenance.command,
        "revision": provenance.revision,
        "parameters": dict(provenance.parameters),
        "inputs": dict(provenance.inputs),
        "digest": provenance.digest,
    }
