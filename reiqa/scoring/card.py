"""CARD.md: the model card of a bundle, with scale, accuracy, limitations and licences.

It begins with metadata in YAML that the Hugging Face Hub reads: a repository with this file as
README.md is found by its tags, and its page shows licence, dataset and correlations.
"""

import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from reiqa.params import VARIANTS
from reiqa.scoring.bundle import Manifest

_COMMERCIAL_USE = (
    "The regressor is derived from the ratings, so their terms decide how scores of this bundle may"
    " be used. If the ratings are for research only: use the bundle for research, teaching and"
    " evaluation. For a product, keep the experts, whose licences are above, and fit a regressor to"
    " ratings that you may use: a folder and a table of ratings are enough"
    " (docs/how-to/own-data.md). This is how the authors of reiqa read the terms; it is not"
    " legal advice."
)

_LIMITATIONS = "## What it is bad at"
_PARTS = "## What it is made of"

# Task and metrics by their names on the hub, which has no task for image quality.
_TASK = {"type": "image-quality-assessment", "name": "No-reference image quality assessment"}
_METRICS = {"srcc": ("spearmanr", "SRCC"), "plcc": ("pearsonr", "PLCC")}
_TAGS = ("image-quality-assessment", "no-reference", "re-iqa")

_EXPERTS = {"both": "both experts", "content": "content alone", "quality": "quality alone"}


def render_card(manifest: Manifest, notes: str) -> str:
    """Return the model card as Markdown.

    Args:
        manifest: manifest of the bundle.
        notes: limitations of the scorer, or empty.
    """
    sections = [
        _front_matter(manifest),
        f"# Bundle {manifest.name}",
        _scale(manifest),
        _trust(manifest),
        f"{_LIMITATIONS}\n\n" + (notes.strip() or "Nothing has been written down yet."),
        _parts(manifest),
        _terms(manifest),
    ]
    return "\n\n".join(sections) + "\n"


def read_notes(text: str) -> str:
    """Return the limitations in a model card, to write the card again."""
    _, _, after = text.partition(f"{_LIMITATIONS}\n")
    return after.partition(f"\n{_PARTS}\n")[0].strip()


def _front_matter(manifest: Manifest) -> str:
    """Return the metadata of the card between two lines of dashes."""
    fitted = manifest.fitted
    results = [_result(manifest, entry) for entry in manifest.metrics]
    tree = {
        "library_name": "reiqa",
        "tags": list(_TAGS),
        # Experts and regressor have different licences, which the card lists. The ratings' licence
        # is the name, because it decides how scores may be used.
        "license": "other",
        "license_name": re.sub(r"[^a-z0-9.]+", "-", fitted.licence.lower()).strip("-") or "unknown",
        "datasets": [fitted.dataset],
        "metrics": [name for name, _ in _METRICS.values()],
        "model-index": [{"name": manifest.name, "results": results}],
    }
    text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=100)
    return f"---\n{text}---"


def _result(manifest: Manifest, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the correlations of both experts together, for the model index."""
    fitted, dataset = manifest.fitted, entry["dataset"]
    over = f", median over {entry['splits']} splits" if entry["splits"] > 1 else ""
    metrics = []
    for name, (kind, label) in _METRICS.items():
        median = entry["variants"]["both"][name]["median"]
        if median is not None:
            metrics.append({"type": kind, "name": label + over, "value": round(median, 4)})
    return {
        "task": dict(_TASK),
        "dataset": {
            "type": dataset,
            "name": fitted.title if dataset == fitted.dataset else dataset,
        },
        "metrics": metrics,
    }


def _scale(manifest: Manifest) -> str:
    fitted, residuals = manifest.fitted, manifest.residuals
    ratings = (
        "a full-reference measure, not people's ratings" if fitted.proxy else "people's ratings"
    )
    meaning = (
        f"{manifest.scale}. 0 stands for the worst possible rating of {fitted.title}"
        f" ({fitted.low:g}), 100 for the best ({fitted.high:g}); the map between is linear, and"
        " nothing is cut off: an image worse than any rated one may score below 0. The regressor"
        f" ({_model(manifest)}) was fitted to {ratings} of {fitted.images:,} images of"
        f" {fitted.title}. The mean photograph scores {manifest.intercept:.1f}."
    )
    expected = (
        f"The expected range holds {residuals.coverage:.0%} of the ratings of images that the"
        f" regressor had not seen ({residuals.count:,} predictions of the splits below): at a"
        f" score of {_example(manifest)}."
    )
    return "\n\n".join(["## What a score means", _wrapped(meaning), _wrapped(expected)])


def _model(manifest: Manifest) -> str:
    fitted = manifest.fitted
    shape = f", {fitted.l1_ratio:.0%} of it absolute" if fitted.model == "elasticnet" else ""
    return f"{fitted.model}, penalty {fitted.alpha:.4g}{shape}"


def _example(manifest: Manifest) -> str:
    at = manifest.residuals.at[len(manifest.residuals.at) // 2]
    low, high = manifest.residuals.expected_range(at)
    return f"{at:.0f}, from {low:.0f} to {high:.0f}"


def _trust(manifest: Manifest) -> str:
    tables = [_table(entry) for entry in manifest.metrics]
    return "## How well it predicts\n\n" + "\n\n".join(tables)


def _table(entry: Mapping[str, Any]) -> str:
    head = ("", "SRCC", "±", "95 %", "PLCC", "±")
    lines: list[Sequence[str]] = [head, ["---"] * len(head)]
    for variant in VARIANTS:
        srcc, plcc = (entry["variants"][variant][name] for name in ("srcc", "plcc"))
        lines.append(
            (
                _EXPERTS[variant],
                _number(srcc["median"]),
                _number(srcc["std"]),
                f"{_number(srcc['low'])} to {_number(srcc['high'])}",
                _number(plcc["median"]),
                _number(plcc["std"]),
            )
        )
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    compared = "; ".join(
        f"{name.replace('-', ' over ')} p = {test['wilcoxon_p']:.2g} (Wilcoxon),"
        f" {test['corrected_t_p']:.2g} (corrected t)"
        for name, test in entry["tests"].items()
        if test["wilcoxon_p"] is not None and test["corrected_t_p"] is not None
    )
    measured = (
        f"{entry['dataset']}, {entry['images']:,} images, {entry['protocol']}; median over the"
        " splits, standard deviation, bootstrap interval; PLCC after a logistic:"
    )
    return f"{_wrapped(measured)}\n\n{table}" + (
        f"\n\nPaired over the splits: {compared}." if compared else ""
    )


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _parts(manifest: Manifest) -> str:
    lines = [
        _PARTS,
        "",
        "| part | what | made by | code | SHA-256 |",
        "|---|---|---|---|---|",
    ]
    for expert, expert_info in manifest.experts.items():
        lines.append(
            _part(manifest, expert, f"{expert_info.backbone}, {expert_info.width} features a scale")
        )
    scales = ", ".join(f"{scale:g}" for scale in manifest.recipe.scales)
    lines.append(_part(manifest, "regressor", f"{_model(manifest)}, scales {scales}"))
    lines += ["", "`bundle.json` holds parameters and inputs of each, by digest."]
    return "\n".join(lines)


def _part(manifest: Manifest, name: str, what: str) -> str:
    made, digest = manifest.provenance[name], manifest.parts[f"{name}.safetensors"]
    return f"| {name} | {what} | `{made['command']}` | {made['revision']} | {digest[:16]} |"


def _terms(manifest: Manifest) -> str:
    fitted = manifest.fitted
    lines = [
        f"- {name} expert: {expert_info.licence}" for name, expert_info in manifest.experts.items()
    ]
    return "\n".join(
        [
            "## Terms",
            "",
            *lines,
            f"- regressor: fitted to ratings of {fitted.title} ({fitted.licence})",
            "",
            f"Ratings: {fitted.citation}.",
            *([] if fitted.proxy else ["", _wrapped(_COMMERCIAL_USE)]),
        ]
    )
