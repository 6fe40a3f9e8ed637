"""params.yaml is checked: what is wrong with it is said in one line that names file and key."""

import itertools
import subprocess
import sys
import typing
from importlib import resources
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from reiqa import params, pipeline, stages, validation
from reiqa.errors import BadInputError
from reiqa.params import Params
from reiqa.stages import stage_parameters

PRESETS = sorted(
    path.name.removesuffix(".yaml")
    for path in (resources.files("reiqa") / "presets").iterdir()
    if path.name.endswith(".yaml")
)


def preset(name: str = "demo") -> dict:
    text = (resources.files("reiqa") / "presets" / f"{name}.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)


def load(tmp_path: Path, tree: object, **known) -> Params:
    path = tmp_path / "params.yaml"
    path.write_text(tree if isinstance(tree, str) else yaml.safe_dump(tree), encoding="utf-8")
    return params.load_params(path, **known)


def fault(tmp_path: Path, tree: object, **known) -> str:
    with pytest.raises(BadInputError) as raised:
        load(tmp_path, tree, **known)
    said = str(raised.value)
    assert "\n" not in said and said.startswith(str(tmp_path / "params.yaml"))
    return said.removeprefix(f"{tmp_path / 'params.yaml'}: ")


def put(tree: dict, key: str, value: object) -> dict:
    *way, last = key.split(".")
    place = tree
    for part in way:
        place = place[part]
    place[last] = value
    return tree


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_sound_and_survives_being_written_again(tmp_path, name):
    read = load(tmp_path, preset(name))
    assert read.preset == name
    assert load(tmp_path, read.model_dump(mode="json")) == read


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("sede", 1, "sede: unknown key; allowed here: preset, seed, datasets"),
        ("chunks.pach", 1, "chunks.pach: unknown key; allowed here: corpora, n_aug, patch"),
        ("quality.training.lr", 1, "quality.training.lr: unknown key; allowed here: epochs"),
        (
            "regression.model",
            "svm",
            "regression.model: input should be 'ridge', 'kernel_ridge', 'elasticnet' or",
        ),
        ("regression.svr", {"kernel": "poly"}, "regression.svr.kernel: input should be 'rbf' or"),
        ("regression.svr", {"C": [10, 1, 5]}, "regression.svr.C: the minimum exceeds"),
        ("regression.svr", {"C": [0, 1, 5]}, "regression.svr.C.0: input should be greater than 0"),
        ("regression.svr", {"epsilon": []}, "regression.svr.epsilon: "),
        ("regression.svr", {"epsilon": [-0.1]}, "regression.svr.epsilon.0: "),
        ("regression.svr", {"epsilon": [0.1, 0.1]}, "regression.svr.epsilon: duplicate values"),
        ("regression.svr", {"gamma": 1}, "regression.svr.gamma: unknown key; allowed here: kernel"),
        ("chunks.patch", "big", "chunks.patch: input should be a valid integer"),
        ("chunks.patch", 8, "chunks.patch: input should be greater than or equal to 16, not 8"),
        ("chunks.patch", 33.5, "chunks.patch: "),
        ("chunks.scales", [0.25], "chunks.scales.0: allowed: 1.0, 0.5"),
        ("chunks.scales", [], "chunks.scales: "),
        ("chunks.ola", [0.3, 0.1], "chunks: ola: the minimum overlap 0.3 exceeds the maximum 0.1"),
        ("chunks.ola", [0.1], "chunks.ola.1: this key is required"),
        ("regression.fractions", [0.7, 0.2, 0.2], "regression: fractions: must add up to 1"),
        ("regression.alphas", [10, 1, 5], "regression.alphas: the minimum exceeds"),
        ("quality.training.learning_rate", "fast", "quality.training.learning_rate: "),
        ("quality.training.learning_rate", float("nan"), "quality.training.learning_rate: "),
        ("quality.training.temperature", 0, "quality.training.temperature: "),
        ("quality.training", None, "quality: training: required because source is pretrain"),
        ("content.source", "import", "content: file: required because source is import"),
        (
            "content",
            {"source": "package", "backbone": "efficientnet_lite0", "init": "package"},
            "content: init: only pretraining has initial weights, but source is package; remove",
        ),
        (
            "quality",
            {"source": "import", "file": "a.pth", "init": "b.pth"},
            "quality: init: only pretraining has initial weights, but source is import; remove",
        ),
        ("bank.types", "all", "bank.types: "),
        ("datasets", [], "datasets: "),
        ("datasets", "demo", "datasets: input should be a valid list"),
        ("seed", -1, "seed: "),
        ("compute.precision", "fp16", "compute.precision: input should be 'float32' or 'bf16'"),
        ("report.thumbnails", 51, "report.thumbnails: "),
    ],
)
def test_a_wrong_value_is_one_line_with_the_key_and_what_is_allowed(tmp_path, key, value, words):
    assert fault(tmp_path, put(preset(), key, value)).startswith(words)


def test_a_backbone_that_no_package_ships_cannot_come_from_one(tmp_path):
    tree = put(preset(), "content.backbone", "mobilenet_v3_small")
    said = fault(tmp_path, put(tree, "content.source", "package"))
    assert said.startswith("content: backbone: no package ships mobilenet_v3_small weights")


def test_a_ranking_term_is_refused_for_svr(tmp_path):
    ranked = {"model": "svr", "ranking": {"dataset": "biq2021_degraded"}}
    said = fault(tmp_path, put(preset(), "regression", ranked))
    assert said == (
        "regression: ranking: only supported with model ridge or kernel_ridge; set it to null"
    )


def test_components_are_written_with_the_parameters_only_for_kernel_ridge(tmp_path):
    tree = put(preset(), "regression.components", 9)
    assert "components" not in load(tmp_path, tree).model_dump()["regression"]
    tree["regression"] |= {"model": "kernel_ridge"}
    chosen = load(tmp_path, tree)
    assert chosen.model_dump()["regression"]["components"] == 9
    assert params.Params.model_validate_json(chosen.model_dump_json()) == chosen


def test_svr_is_written_with_the_parameters_only_if_it_is_the_model(tmp_path):
    tree = put(preset(), "regression.svr", {"kernel": "linear"})
    assert "svr" not in load(tmp_path, tree).model_dump()["regression"]
    tree["regression"]["model"] = "svr"
    chosen = load(tmp_path, tree)
    assert chosen.model_dump()["regression"]["svr"]["kernel"] == "linear"
    assert params.Params.model_validate_json(chosen.model_dump_json()) == chosen


@pytest.mark.parametrize("key", ["datasets", "preset", "content", "quality"])
def test_a_key_that_is_needed_is_named(tmp_path, key):
    tree = preset()
    del tree[key]
    assert fault(tmp_path, tree) == f"{key}: this key is required"


def test_chunks_are_needed_for_pretraining_alone(tmp_path):
    tree = preset()
    del tree["chunks"]
    needed = "chunks.corpora: required because quality.source is pretrain"
    assert fault(tmp_path, tree) == needed


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the whole file: "),
        ("[1, 2]", "the whole file: "),
        ("a: [1", "not readable as YAML"),
        ("a: !!python/object:os.system x", "not readable as YAML"),
    ],
)
def test_what_is_no_tree_of_parameters_is_one_line(tmp_path, text, words):
    assert fault(tmp_path, text).startswith(words)


def test_a_missing_file_says_how_to_make_one(tmp_path):
    with pytest.raises(BadInputError, match="not found; create it with: reiqa preset"):
        params.load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize("key", ["datasets", "chunks.corpora", "content.corpora"])
def test_an_unknown_dataset_error_lists_known_names(tmp_path, key):
    known = {"datasets": {"demo", "demo_mixed"}, "corpora": {"demo_corpus"}}
    assert load(tmp_path, preset(), **known)
    said = fault(tmp_path, put(preset(), key, ["koniq"]), **known)
    allowed = "demo, demo_mixed" if key == "datasets" else "demo_corpus"
    assert said == f"{key}: unknown name 'koniq'; allowed: {allowed}"


@pytest.mark.parametrize(
    ("copies", "words"),
    [
        ("biq2021_degraded", "biq2021_degraded holds copies of biq2021; add biq2021 to datasets"),
        ("demo_mixed", "demo_mixed does not hold copies of another dataset"),
    ],
)
def test_copies_of_no_dataset_that_is_fitted_are_refused(tmp_path, copies, words):
    tree = put(preset(), "regression.ranking", {"dataset": copies})
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(tree))
    with pytest.raises(BadInputError) as raised:
        pipeline.load_params(path)
    said = str(raised.value)
    assert "\n" not in said and said.startswith(f"{path}: regression.ranking.dataset: {words}")
    tree["regression"]["ranking"]["dataset"] = "biq2021_degraded"
    path.write_text(yaml.safe_dump(put(tree, "datasets", ["biq2021", "clive"])))
    assert pipeline.load_params(path).degraded_datasets() == ["biq2021_degraded"]


def test_nothing_can_be_changed_after_reading():
    read = Params.model_validate(preset())
    with pytest.raises(ValueError, match="frozen"):
        read.seed = 3


def test_numbers_written_as_people_write_them_are_numbers(tmp_path):
    tree = put(preset(), "regression.alphas", ["1e-3", "1e6", 25])
    assert load(tmp_path, tree).regression.alphas == (1e-3, 1e6, 25)


# What depends on what


STAGES = ("fetch", "index", "chunks", "features", "fit", "cross", "report")
#: Where a change must be seen, by section: the stages whose own record holds it.
SEEN = {
    "seed": {"chunks", "model/content", "model/quality", "fit", "cross"},
    "preset": {"report"},
    "datasets": {"cross", "report"},
    "compute": {"model/content", "model/quality"},
    "data": {"index"},
    "bank": {"chunks", "model/quality"},
    "chunks": {"chunks", "model/quality"},
    "content": {"model/content"},
    "quality": {"model/quality"},
    "features": {"features"},
    "regression": {"fit", "cross", "report"},
    "report": {"report"},
}
OTHER = {
    "seed": 99,
    "preset": "mine",
    "datasets": ["demo"],
    "compute.precision": "bf16",
    "data.allow_missing": True,
    "bank.extras": ["motion_blur"],
    "chunks.n_aug": 2,
    "content.view": 64,
    "quality.training.epochs": 77,
    "features.max_pixels": 70_000,
    "regression.bootstrap": 5,
    "report.thumbnails": 1,
}


def records(tree: dict) -> dict[str, str]:
    read = Params.model_validate(tree)
    found = {stage: stage_parameters(read, stage) for stage in STAGES if stage != "model"}
    found |= {f"model/{e}": stage_parameters(read, "model", e) for e in params.EXPERTS}
    return {name: params.tree_digest(record) for name, record in found.items()}


@pytest.mark.parametrize(("key", "value"), OTHER.items())
def test_a_changed_parameter_is_seen_by_the_stages_that_depend_on_it_and_no_other(key, value):
    before, after = records(preset()), records(put(preset(), key, value))
    assert {name for name in before if before[name] != after[name]} == SEEN[key.split(".")[0]]


#: What a user may choose freely: how fast, and how often a checkpoint is written.
FREE = {
    "compute.threads": 7,
    "features.batch": 3,
    "quality.training.checkpoint_every": 7,
    "content.training.keep": 9,
}


@pytest.mark.parametrize(("key", "value"), FREE.items())
def test_a_free_choice_is_seen_by_no_stage(key, value):
    assert records(preset()) == records(put(preset(), key, value))


def test_auto_accepts_whatever_device_it_was_resolved_to():
    made = {"compute": {"device": "cuda", "precision": "bf16"}, "seed": 1}
    auto = {"compute": {"device": "auto", "precision": "bf16"}, "seed": 1}
    cpu = {**auto, "compute": {"device": "cpu", "precision": "bf16"}}
    exact = {**auto, "compute": {"device": "auto", "precision": "float32"}}
    assert stages.differences(made, auto) == []
    assert stages.differences(made, {**auto, "seed": 2}) == ["seed"]
    assert stages.differences(made, cpu) == ["compute.device"]
    assert stages.differences(made, exact) == ["compute.precision"]


REFUSED_EARLY = {
    "chunks.n_aug": (26, r"chunks\.n_aug: 26 distinct types .* bank has 25"),
    "quality.backbone": ("resnet51", r"quality\.backbone: unknown name 'resnet51'; did you mean"),
    "content.backbone": ("vit_b_16", r"content\.backbone: vit_b_16 has a fixed input size"),
}


@pytest.mark.parametrize("key", REFUSED_EARLY)
def test_what_a_late_stage_would_refuse_is_refused_when_it_is_read(tmp_path, key):
    value, says = REFUSED_EARLY[key]
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(put(preset(), key, value)))
    with pytest.raises(BadInputError, match=says) as refusal:
        params.load_params(path)
    assert "\n" not in str(refusal.value)


def test_a_timm_model_is_accepted_without_importing_timm(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(put(preset(), "content.backbone", "timm/resnet18")))
    code = (
        "import sys; from pathlib import Path; from reiqa.params import load_params;"
        "print(load_params(Path(sys.argv[1])).content.backbone, {'timm', 'torch'} & {*sys.modules})"
    )
    found = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert found.stdout == "timm/resnet18 set()\n"


@pytest.mark.parametrize("expert", params.EXPERTS)
def test_a_backbone_without_stages_is_refused_before_it_is_trained(tmp_path, expert):
    tree = put(put(preset(), f"{expert}.backbone", "vgg11"), "features.pooling", "last")
    assert load(tmp_path, tree)
    said = fault(tmp_path, put(tree, "features.pooling", "stages"))
    assert said.startswith("features.pooling: the stages of vgg11 cannot be identified")
    assert f"{expert}.backbone" in said


def test_the_list_of_backbones_without_stages_is_that_of_the_pooling():
    from torchvision import models

    from reiqa import backbone_names
    from reiqa.encoders.pooling import _stages

    # RegNets compute their widths with tensors, so they cannot be built without memory.
    names = [n for n in backbone_names.BACKBONES if n in models.list_models(module=models)]
    found = set()
    with torch.device("meta"):
        for name in (n for n in names if not n.startswith("regnet")):
            quick = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
            if not any(_stages(models.get_model(name, weights=None, **quick))):
                found.add(name)
    assert found == backbone_names.WITHOUT_STAGES


def test_the_lists_that_spare_an_import_are_those_of_the_libraries():
    from torchvision import models

    from reiqa import backbone_names, distortions

    offered = set(models.list_models(module=models))
    assert (
        offered | {*backbone_names.PACKAGED} == backbone_names.BACKBONES | backbone_names.FIXED_SIZE
    )
    assert set(distortions.resolve(params.BankParams())) == params.PUBLISHED_TYPES


def test_a_key_given_twice_is_refused_by_name(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(preset()) + "\nregression:\n  splits: 3\n")
    with pytest.raises(BadInputError, match="duplicate key 'regression'"):
        params.load_params(path)


@pytest.mark.parametrize(
    "text",
    [
        "base: &b {x: 1}\nnear: {<<: *b, x: 2}\n",
        # `far` is built before `inner`, which then holds what was merged into it.
        "base: &b {x: 1}\nouter: {inner: &a {<<: *b, x: 2}}\nfar: {<<: *a, y: 3}\n",
    ],
)
def test_a_key_that_overrides_a_merged_one_is_not_given_twice(tmp_path, text):
    path = tmp_path / "merged.yaml"
    path.write_text(text)
    assert validation.read_yaml(path) == yaml.safe_load(text)


def test_a_key_given_twice_below_a_merge_is_refused(tmp_path):
    path = tmp_path / "merged.yaml"
    path.write_text("base: &b {x: 1, x: 2}\nfar: {<<: *b, y: 3}\n")
    with pytest.raises(yaml.YAMLError, match="duplicate key 'x'"):
        validation.read_yaml(path)


@pytest.mark.parametrize(
    ("bank", "count"),
    [
        ({}, 25),
        ({"extras": ["motion_blur"]}, 26),
        ({"extras": ["jpeg", "motion_blur"]}, 26),
        ({"types": ["jpeg", "darken"], "extras": ["jpeg"]}, 2),
    ],
)
def test_a_type_named_twice_is_one_type_to_draw_from(tmp_path, bank, count):
    tree = put(put(preset(), "bank", bank), "chunks.n_aug", count)
    assert load(tmp_path, tree).bank.count == count
    said = fault(tmp_path, put(tree, "chunks.n_aug", count + 1))
    assert said.startswith(f"chunks.n_aug: {count + 1} distinct types needed, but the bank has")


def test_every_section_is_seen_by_some_stage():
    assert set(SEEN) == set(Params.model_fields) == {key.split(".")[0] for key in OTHER}


def test_imported_weights_do_not_depend_on_the_bank_or_the_seed():
    tree = put(preset(), "quality", {"source": "import", "file": "a.pth"})
    for key in ("seed", "bank.extras", "chunks.n_aug"):
        other = put(yaml.safe_load(yaml.safe_dump(tree)), key, OTHER[key])
        assert records(tree)["model/quality"] == records(other)["model/quality"]


@given(st.permutations(["b", "a", "c"]), st.permutations(["x", "y"]))
def test_a_digest_does_not_depend_on_the_order_of_keys(outer, inner):
    tree = {key: {name: [1, 0.1] for name in inner} for key in outer}
    assert params.tree_digest(tree) == params.tree_digest(dict(sorted(tree.items())))


def test_corpora_are_those_that_some_expert_learns_from():
    tree = preset()
    assert Params.model_validate(tree).corpora() == ["demo_corpus"]
    put(tree, "quality", {"source": "import", "file": "a.pth"})
    put(tree, "content.corpora", ["kodak", "gb82"])
    assert Params.model_validate(tree).corpora() == ["kodak", "gb82"]


@given(images=st.integers(0, 10**7), each=st.integers(1, 10**5))
def test_shards_hold_every_photograph_and_none_is_empty(images, each):
    chunks = params.ChunkParams(corpora=["kodak"], images_per_shard=each)
    count = chunks.shard_count(images)
    assert (count - 1) * each < images <= count * each or images == count == 0


def test_every_parameter_is_documented():
    def sections(model: type[BaseModel]) -> typing.Iterator[type[BaseModel]]:
        yield model
        for field in model.model_fields.values():
            for kind in (field.annotation, *typing.get_args(field.annotation)):
                if isinstance(kind, type) and issubclass(kind, BaseModel):
                    yield from sections(kind)

    shared = {name for name in Params.model_fields if name not in ("preset", "seed", "datasets")}
    for section, name in itertools.chain.from_iterable(
        ((section, name) for name in section.model_fields) for section in sections(Params)
    ):
        if section is Params and name in shared:
            continue
        assert f"{name}:" in (section.__doc__ or ""), f"{section.__name__}.{name}"


def test_compiling_is_recorded() -> None:
    tree = {"preset": "t", "datasets": ["demo"], "chunks": {"corpora": ["kodak"]}}
    expert = {
        "source": "pretrain",
        "training": {"epochs": 1, "batch_size": 1},
        "corpora": ["kodak"],
    }
    for on in (False, True):
        params = Params.model_validate(
            {**tree, "content": expert, "quality": expert, "compute": {"compile": on}}
        )
        recorded = stage_parameters(params, "model", "quality")
        assert recorded["compute"]["compile"] == on
