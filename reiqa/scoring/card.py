"""CARD.md: the model card of a bundle, with scale, accuracy, limitations and licences."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from reiqa.params import VARIANTS
from reiqa.scoring.bundle import Manifest

_COMMERCIAL_USE = (
    "The regressor is derived from the ratings, so their terms decide how scores of this bundle may"
    " be used. If the ratings are for research only: use the bundle for research, teaching and"
    " evaluation. For a product, keep the experts, whose licences are above, and fit a regressor to"
    " ratings that you may use: a folder and a table of ratings are enough"
    " (docs/how-to/add-a-dataset.md). This is how the authors of reiqa read the terms; it is not"
    " legal advice."
)

_EXPERTS = {"both": "both experts", "content": "content alone", "quality": "quality alone"}


def render_card(manifest: Manifest, notes: str) -> str:
    """Return the model card as Markdown.

    Args:
        manifest: manifest of the bundle.
        notes: limitations of the scorer, or empty.
    """
    sections = [
        f"# Bundle {manifest.name}",
        _scale(manifest),
        _trust(manifest),
        "## What it is bad at\n\n" + (notes.strip() or "Nothing has been written down yet."),
        _parts(manifest),
        _terms(manifest),
    ]
    return "\n\n".join(sections) + "\n"


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
        "## What it is made of",
        "",
        "| part | what | made by | code | SHA-256 |",
        "|---|---|---|---|---|",
    ]
    for expert, expert_info in manifest.experts.items():
        lines.append(
            _part(manifest, expert, f"{expert_info.backbone}, {expert_info.width} features a scale")
        )
    scales = ", ".join(f"{scale:g}" for scale in manifest.recipe.scales)
    lines.append(_part(manifest, "regressor", f"linear, scales {scales}"))
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
