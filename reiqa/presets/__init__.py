"""Presets: complete parameter files, written by ``reiqa preset``.

Most are files of this folder. `bundle_preset` makes one from the experts of a bundle.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from reiqa import catalog
from reiqa.errors import BadInputError
from reiqa.params import EXPERTS, ExpertName, Params, RegressionParams
from reiqa.scoring.bundle import SHIPPED, Bundle, load_bundle
from reiqa.validation import flow_yaml, parse_yaml

FOLDER = Path(__file__).parent

#: Name of the preset that is made from a bundle.
BUNDLE = "bundle"

# Parameters of the bundle's regressor that suit any dataset; the protocol depends on the dataset.
_REGRESSION_KEYS = ("model", "components", "alphas", "l1_ratios", "target", "clip", "ranking")

_BUNDLE_PRESET = """\
# The experts of the bundle {name} on other ratings: nothing is pretrained, so features, fit, cross
# and report take minutes. Features are computed as in the bundle.
preset: bundle
seed: 0
datasets: {datasets}

compute:
  device: auto
  threads: 1
  precision: float32

data:
  allow_missing: false

# Only the probe uses the bank, and nothing is cut into chunks.
bank:
  types: published
  extras: []

chunks:
  corpora: []

content:
  source: import
  backbone: {content[backbone]}
  file: {content[file]}

quality:
  source: import
  backbone: {quality[backbone]}
  file: {quality[file]}

features:
  scales: {scales}
  pooling: {pooling}
  batch: 8
  max_pixels: {max_pixels}
  precision: float32

# Target, clipping and penalties are those of the bundle. Its kernel ridge is kept only with its own
# dataset, and its ranking term only with the dataset whose degraded copies it uses.
regression:
{regression}
  splits: 10
  fractions: [0.7, 0.1, 0.2]
  protocol: official
  bootstrap: 1000

report:
  thumbnails: 6
"""


def shipped_presets() -> dict[str, str]:
    """Return the text of each preset that ships as a file, by name."""
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.yaml"))}


def open_bundle(name: str) -> Bundle:
    """Return a bundle whose files a project can name.

    Args:
        name: name of an installed bundle, or the path of a folder.

    Raises:
        BadInputError: the bundle does not exist, is damaged, or is only on a hub.
    """
    if name.startswith("hf://"):
        repository = name.removeprefix("hf://").partition("@")[0]
        folder = Path("bundles", repository.rpartition("/")[2])
        raise BadInputError(
            f"{name}: the project needs the files of the experts; run: hf download {repository}"
            f" --local-dir {folder}, and pass --bundle {folder}"
        )
    return load_bundle(name)


def bundle_preset(bundle: Bundle, datasets: Sequence[str]) -> str:
    """Return parameters that use the experts of a bundle without pretraining.

    The ranking term of the bundle is kept only if it has copies of one of the datasets, and kernel
    ridge only with the bundle's own dataset: on a few hundred images ridge is as good, and better
    on other datasets.

    Args:
        bundle: see `open_bundle`.
        datasets: rated datasets to evaluate on.

    Raises:
        BadInputError: the parameters of the bundle's regressor are unknown.
    """
    recipe = bundle.manifest.recipe
    regression = _regression(bundle, datasets)
    text = _BUNDLE_PRESET.format(
        name=bundle.manifest.name,
        datasets=flow_yaml(list(datasets)),
        **{expert: _expert(bundle, expert) for expert in EXPERTS},
        scales=flow_yaml(list(recipe.scales)),
        pooling=recipe.pooling,
        max_pixels=recipe.max_pixels,
        regression="\n".join(f"  {key}: {flow_yaml(value)}" for key, value in regression.items()),
    )
    Params.model_validate(parse_yaml(text))
    return text


def resize_remarks(bundle: Bundle, datasets: Sequence[str]) -> list[str]:
    """Return a line for each dataset whose images are resized in another way than the bundle's."""
    name, resize = bundle.manifest.name, bundle.manifest.recipe.resize
    return [
        f"{dataset}: its images keep their size, but {name} was fitted at {resize} pixels (shorter"
        f" side); to do the same, add resize: {resize} to {dataset} in {catalog.PROJECT_FILE}"
        for dataset in datasets
        if resize is not None and catalog.get_entry(dataset).resize != resize
    ]


def _expert(bundle: Bundle, expert: ExpertName) -> dict[str, str]:
    folder = bundle.folder
    if folder.parent == SHIPPED:
        # Found in the package (`layout.checkpoint`), so that no path of this machine is recorded.
        folder = Path("bundles", folder.name)
    file = folder / f"{expert}.safetensors"
    backbone = bundle.manifest.experts[expert].backbone
    return {"backbone": flow_yaml(backbone), "file": flow_yaml(file.as_posix())}


def _regression(bundle: Bundle, datasets: Sequence[str]) -> dict[str, Any]:
    try:
        made = bundle.manifest.provenance["regressor"]["parameters"]["regression"]
        known = {key: made[key] for key in _REGRESSION_KEYS if key in made}
        checked = RegressionParams.model_validate(known)
    except (ValidationError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise BadInputError(
            f"{bundle.folder}: unknown parameters of the regressor ({reason}); make the bundle"
            " again with: reiqa bundle"
        ) from None
    if checked.ranking is not None:
        copies = catalog.load_catalog().get(checked.ranking.dataset)
        if copies is None or copies.shares not in datasets:
            checked = checked.model_copy(update={"ranking": None})
    if checked.model == "kernel_ridge" and bundle.manifest.fitted.dataset not in datasets:
        checked = checked.model_copy(update={"model": "ridge"})
    tree = checked.model_dump(mode="json")
    return {key: tree[key] for key in _REGRESSION_KEYS if key in tree}
