"""The stage table: inputs, outputs, parameters and resources of each pipeline stage.

Snakemake's rules, the command line, the staleness check, the check of dvc.yaml and the reference
page use this table. To add a stage, add an entry here, a function that does the work, and a rule in
``workflow/rules``. This module imports neither torch nor pydantic, to keep ``reiqa --help`` fast.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from reiqa import layout, resources
from reiqa.expert_names import EXPERTS, ExpertName
from reiqa.resources import Needs

if TYPE_CHECKING:
    from reiqa.params import Params


@dataclass(frozen=True)
class Stage:
    """One stage. An item, the values of its wildcards joined by slashes, identifies an artifact.

    Attributes:
        name: key of `STAGES`, and the verb except for models.
        summary: one-line description.
        format: format number; increased when the code gives different output for the same input.
        wildcards: names of the parts of an item.
        target: stage of dvc.yaml that it belongs to.
        items: all items of a complete run.
        output: path of an artifact, from the values of the wildcards.
        inputs: input artifacts, from parameters and values.
        parameters: parameters that the content depends on; None for a stage without parameters,
            whose ``work`` does not receive any.
        command: command that makes an item, with wildcards in braces.
        work: ``module:function``; receives the values, then the parameters, then options.
        needs: memory and minutes of one job.
        companions: companion outputs: kinds of files next to the artifact (`layout.companion`; an
            empty string is the folder of its name), or paths.
    """

    name: str
    summary: str
    format: int
    wildcards: tuple[str, ...]
    target: str
    items: Callable[[Params], Iterable[str]]
    output: Callable[..., Path]
    inputs: Callable[..., list[Path]]
    parameters: Callable[..., dict[str, Any]] | None
    command: str
    work: str
    needs: Callable[..., Needs]
    companions: tuple[str | Path, ...] = ()

    def path(self, item: str = "") -> Path:
        """Return the path of an artifact."""
        return self.output(*self.values(item))

    def pattern(self) -> str:
        """Return the path with wildcards in braces, as in Snakemake rules."""
        return self.output(*("{" + name + "}" for name in self.wildcards)).as_posix()

    def companion_paths(self, path: Path) -> list[Path]:
        """Return the companion outputs of an artifact (patterns for a pattern)."""
        named = {"": path.with_name(path.stem)}
        return [
            kind if isinstance(kind, Path) else named.get(kind) or layout.companion(path, kind)
            for kind in self.companions
        ]

    def reads(self, params: Params, item: str = "") -> list[Path]:
        """Return the input artifacts of an item.

        Raises:
            BadInputError: the parameters name a dataset that is not in the catalog.
        """
        return self.inputs(params, *self.values(item))

    def values(self, item: str) -> list[str]:
        """Return the values of the wildcards."""
        return item.split("/") if self.wildcards else []

    def command_for(self, item: str) -> str:
        """Return the command that makes an item."""
        return self.command.format(**dict(zip(self.wildcards, self.values(item), strict=True)))

    def function(self) -> Callable[..., object]:
        """Import and return the function that does the work."""
        module, _, name = self.work.partition(":")
        return cast("Callable[..., object]", getattr(import_module(module), name))


def _expert(name: str) -> ExpertName:
    return "content" if name == "content" else "quality"


def _sections(*names: str) -> Callable[..., dict[str, Any]]:
    """Return a function that selects sections of params.yaml."""

    def pick(params: Params, *_values: str) -> dict[str, Any]:
        return params.model_dump(mode="json", include=set(names))

    return pick


# Parameters that affect the speed, and results only by rounding. They do not make artifacts stale.
_PERFORMANCE_KEYS = {
    "compute": {"threads"},
    "training": {"checkpoint_every", "keep"},
    "features": {"batch"},
}


def _model(params: Params, name: str) -> dict[str, Any]:
    tree = params.model_dump(mode="json")
    expert = tree[name]
    if expert["source"] != "pretrain":
        chosen = {key: expert[key] for key in ("source", "backbone", "file")}
        return {name: {**chosen, "digest": _file_digest(expert["file"])}}
    if expert["init"] not in ("random", "package"):
        expert["init_digest"] = _file_digest(expert["init"])
    training = {
        k: v for k, v in expert["training"].items() if k not in _PERFORMANCE_KEYS["training"]
    }
    sections = ("seed", "bank", "chunks") if name == "quality" else ("seed",)
    return {
        **{key: tree[key] for key in sections},
        "compute": params.compute.model_dump(mode="json", exclude=_PERFORMANCE_KEYS["compute"]),
        name: {**expert, "training": training},
    }


def _features(params: Params, *_values: str) -> dict[str, Any]:
    section = params.features.model_dump(mode="json", exclude=_PERFORMANCE_KEYS["features"])
    return {"compute": {"device": params.compute.device}, "features": section}


def fit_params(params: Params, dataset: str) -> Params:
    """Return the parameters under which a dataset is fitted.

    The ranking term is removed if the degraded copies belong to another dataset. Otherwise the
    cross-dataset evaluation would test on photographs whose copies were used for training.

    Raises:
        BadInputError: the dataset of copies is not in the catalog.
    """
    from reiqa import catalog

    ranking = params.regression.ranking
    if ranking is None or catalog.get_entry(ranking.dataset).shares == dataset:
        return params
    regression = params.regression.model_copy(update={"ranking": None})
    return params.model_copy(update={"regression": regression})


def _fit(params: Params, dataset: str) -> dict[str, Any]:
    return _sections("seed", "regression")(fit_params(params, dataset))


def _fit_inputs(params: Params, dataset: str) -> list[Path]:
    copies = fit_params(params, dataset).degraded_datasets()
    return layout.regression_inputs(dataset, *copies)


def _fit_needs(params: Params, dataset: str) -> Needs:
    return resources.fit(fit_params(params, dataset), dataset)


def _probe(params: Params, *_values: str) -> dict[str, Any]:
    bank = params.bank.model_dump(mode="json")
    return {"bank": bank, "chunks": {"corpora": params.probe_corpora()}}


def shards(params: Params, corpus: str) -> list[str]:
    """Return the items of the shards of a corpus.

    Raises:
        BadInputError: no such corpus.
    """
    from reiqa import catalog

    count = params.chunks.shard_count(catalog.get_entry(corpus).count_images())
    return [f"{corpus}/{number:05d}" for number in range(count)]


def _all_shards(params: Params) -> list[str]:
    if params.quality.source != "pretrain":
        return []
    return [item for corpus in params.chunks.corpora for item in shards(params, corpus)]


def _model_inputs(params: Params, name: str) -> list[Path]:
    if params.expert(_expert(name)).source != "pretrain":
        return []
    if name == "content":
        return [layout.index(corpus) for corpus in params.content.corpora]
    return [STAGES["chunks"].path(item) for item in _all_shards(params)]


def _models() -> list[Path]:
    return [layout.model(name) for name in EXPERTS]


def _results(params: Params) -> list[Path]:
    return [layout.result(name) for name in params.datasets]


def _report_inputs(params: Params) -> list[Path]:
    # The page draws a chunk from the index: the shards may be terabytes, or deleted by now.
    drawn = params.chunks.corpora[:1] if params.quality.source == "pretrain" else []
    inputs = [*_results(params), layout.CROSS, *_models(), layout.PROBE]
    return [*inputs, *map(layout.index, drawn)]


STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage(
            name="fetch",
            summary="download a dataset, check it, unpack it",
            format=2,
            wildcards=("dataset",),
            target="data",
            items=lambda params: [*params.feature_datasets(), *params.corpora()],
            output=layout.receipt,
            inputs=lambda _params, _dataset: [],
            parameters=None,
            command="reiqa fetch --dataset {dataset}",
            work="reiqa.data.fetch:fetch",
            needs=resources.fetch,
            companions=("",),
        ),
        Stage(
            name="index",
            summary="match images and ratings in one checked table",
            format=2,
            wildcards=("dataset",),
            target="data",
            items=lambda params: [*params.feature_datasets(), *params.corpora()],
            output=layout.index,
            inputs=lambda _params, dataset: [layout.receipt(dataset)],
            parameters=_sections("data"),
            command="reiqa index --dataset {dataset}",
            work="reiqa.data.index:index_dataset",
            needs=resources.index,
        ),
        Stage(
            name="chunks",
            summary="cut a corpus into windows with recipes",
            format=3,
            wildcards=("corpus", "number"),
            target="chunks",
            items=_all_shards,
            output=layout.shard,
            inputs=lambda _params, corpus, _number: [layout.index(corpus)],
            parameters=_sections("seed", "bank", "chunks"),
            command="reiqa chunks --corpus {corpus} --shard {number}",
            work="reiqa.chunks.shards:cut_shard",
            needs=resources.chunks,
        ),
        Stage(
            name="model",
            summary="pretrain an expert, or import its weights",
            format=2,
            wildcards=("expert",),
            target="pretrain",
            items=lambda _params: EXPERTS,
            output=layout.model,
            inputs=_model_inputs,
            parameters=_model,
            command="reiqa pretrain --expert {expert} (or weights import, as params.yaml says)",
            work="reiqa.pretrain:make_expert",
            needs=resources.model,
            companions=("json", "curve.csv"),
        ),
        Stage(
            name="probe",
            summary="evaluate both frozen experts with linear probes and retrieval",
            format=2,
            wildcards=(),
            target="pretrain",
            items=lambda _params: [""],
            output=lambda: layout.PROBE,
            inputs=lambda params: [*_models(), *map(layout.index, params.probe_corpora())],
            parameters=_probe,
            command="reiqa probe",
            work="reiqa.probe.run:run_probe",
            needs=resources.probe,
        ),
        Stage(
            name="features",
            summary="encode a dataset with a frozen expert",
            format=3,
            wildcards=("dataset", "expert"),
            target="features",
            items=lambda params: [f"{d}/{e}" for d in params.feature_datasets() for e in EXPERTS],
            output=layout.features,
            inputs=lambda _params, dataset, name: [layout.index(dataset), layout.model(name)],
            parameters=_features,
            command="reiqa features --dataset {dataset} --expert {expert}",
            work="reiqa.features.extraction:extract",
            needs=resources.features,
        ),
        Stage(
            name="fit",
            summary="fit a dataset's regressors by the protocol, and evaluate them",
            format=2,
            wildcards=("dataset",),
            target="fit",
            items=lambda params: params.datasets,
            output=layout.result,
            inputs=_fit_inputs,
            parameters=_fit,
            command="reiqa fit --dataset {dataset}",
            work="reiqa.regression.fitting:fit",
            needs=_fit_needs,
            companions=(
                *("predictions.csv", "splits.csv", "alphas.csv"),
                *("regressor.json", "regressor.safetensors"),
            ),
        ),
        Stage(
            name="cross",
            summary="train on each dataset, test on every other",
            format=1,
            wildcards=(),
            target="fit",
            items=lambda _params: [""],
            output=lambda: layout.CROSS,
            inputs=lambda params: [
                *_results(params),
                *layout.regression_inputs(*params.feature_datasets()),
            ],
            parameters=_sections("seed", "datasets", "regression"),
            command="reiqa cross",
            work="reiqa.regression.cross_dataset:evaluate_across",
            needs=resources.cross,
        ),
        Stage(
            name="report",
            summary="gather all results in tables and one page",
            format=3,
            wildcards=(),
            target="report",
            items=lambda _params: [""],
            output=lambda: layout.ALL_SRCC,
            inputs=_report_inputs,
            parameters=_sections("preset", "datasets", "regression", "report"),
            command="reiqa report",
            work="reiqa.report.page:write_page",
            needs=resources.report,
            companions=(
                *(layout.SUMMARY, layout.REPORT, layout.REPORT.with_suffix(".md")),
                *(layout.PLOTS / f"{n}.csv" for n in ("predictions", "alphas", "pretraining")),
                *layout.TABLE_FILES,
            ),
        ),
    )
}


def target_artifacts(params: Params, target: str) -> list[Path]:
    """Return the artifacts of a stage of dvc.yaml.

    Raises:
        BadInputError: the parameters name a dataset that is not in the catalog.
    """
    stages = [stage for stage in STAGES.values() if stage.target == target]
    return list(dict.fromkeys(stage.path(i) for stage in stages for i in stage.items(params)))


def artifacts(params: Params) -> list[tuple[Stage, str]]:
    """Return stage and item of all artifacts of a complete run, in pipeline order."""
    return [(s, item) for s in STAGES.values() for item in dict.fromkeys(s.items(params))]


def command_for(path: Path) -> str:
    """Return the command that makes an artifact, or a generic phrase for an unknown path."""
    for stage in STAGES.values():
        pattern = re.sub(r"\\\{\w+\\\}", "([^/]+)", re.escape(stage.pattern()))
        if found := re.fullmatch(pattern, path.as_posix()):
            return stage.command_for("/".join(found.groups()))
    return "the stage that makes it"


ParametersOf = Callable[[str, str], Mapping[str, Any]]


def stage_parameters(params: Params, stage: str, item: str = "") -> dict[str, Any]:
    """Return the parameters that the content of an artifact depends on, as JSON data.

    A change of these parameters makes the artifact stale; other changes do not.

    Args:
        params: all parameters.
        stage: a key of `STAGES`.
        item: item of the stage; relevant catalog fields of its dataset are included.
    """
    from reiqa import catalog

    spec = STAGES[stage]
    tree = spec.parameters(params, *spec.values(item)) if spec.parameters else {}
    entry = catalog.load_catalog().get(item.partition("/")[0])
    facts = entry.facts(stage) if entry is not None else None
    return tree if facts is None else {**tree, "catalog": facts}


def lookup(params: Params) -> ParametersOf:
    """Return `stage_parameters` with ``params`` bound, for `reiqa.store`."""
    return lambda stage, item: stage_parameters(params, stage, item)


def differences(recorded: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """Return the dotted keys in which recorded parameters differ from the current ones.

    Provenance records the device that ``auto`` was resolved to. A current ``auto`` accepts any
    device; otherwise artifacts from a GPU node would be stale on a CPU node. Likewise, files of a
    local dataset that do not exist here are not compared.
    """
    if current.get("compute", {}).get("device") == "auto":
        device = recorded.get("compute", {}).get("device")
        current = {**current, "compute": {**current["compute"], "device": device}}
    if content := current.get("catalog", {}).get("content"):
        earlier = recorded.get("catalog", {}).get("content", {})
        content = {key: digest or earlier.get(key) for key, digest in content.items()}
        current = {**current, "catalog": {**current["catalog"], "content": content}}
    return differing_keys(recorded, current)


def differing_keys(one: Any, other: Any, prefix: str = "") -> list[str]:
    """Return the dotted keys in which two mappings differ."""
    if not (isinstance(one, Mapping) and isinstance(other, Mapping)):
        return [] if one == other else [prefix]
    return [
        found
        for key in sorted({*one, *other})
        for found in differing_keys(
            one.get(key), other.get(key), f"{prefix}.{key}" if prefix else str(key)
        )
    ]


def _file_digest(file: str | None) -> str | None:
    """Return the digest of an imported checkpoint, which is part of the expert's identity."""
    if file is None or not layout.checkpoint(file).is_file():
        return None
    path = layout.checkpoint(file)
    state = path.stat()
    return _cached_digest(path.absolute(), state.st_size, state.st_mtime_ns)


@cache
def _cached_digest(path: Path, _size: int, _changed: int) -> str:
    # Cached until the file changes, because every staleness check needs it.
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
