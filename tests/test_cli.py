"""The face of the program: help at once, one line and the right exit code for a user's mistake."""

import io
import struct
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from reiqa.cli import app

PARAMS = Path(__file__).parents[1] / "params.yaml"

COMMAND = typer.main.get_command(app)
GROUPS = ("weights", "datasets")
VERBS = [
    *((name,) for name in COMMAND.commands if name != "weights"),
    *((group, name) for group in GROUPS for name in COMMAND.commands[group].commands),
]
HEAVY = (
    *("torch", "dvc", "snakemake", "h5py", "scipy", "sklearn", "matplotlib", "numpy", "PIL"),
    *("huggingface_hub", "torchmetrics", "onnx", "onnxruntime"),
)


def _reiqa(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "reiqa", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def _assert_refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0]


@pytest.mark.parametrize("verb", ["", "bundle", "bundles", "export"])
def test_help_imports_nothing_heavy(verb: str) -> None:
    code = (
        f"import sys; sys.argv = {['reiqa', *verb.split(), '--help']!r}\n"
        "from reiqa.cli import main\n"
        "try: main()\n"
        f"finally: print('HEAVY', sorted(set(sys.modules) & set({HEAVY!r})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "HEAVY []"


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_each_verb_explains_itself_with_an_example_of_its_own(verb: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*verb, "--help"])
    assert shown.exit_code == 0
    assert f"Example: reiqa {' '.join(verb)}" in shown.output


def test_a_preset_is_written_and_an_unknown_one_refused(tmp_path: Path) -> None:
    assert _reiqa(tmp_path, "preset", "paper").returncode == 0
    assert (tmp_path / "params.yaml").read_text().count("preset: paper") == 1
    _assert_refused(_reiqa(tmp_path, "preset", "papre"), "papre", "biq2021, bundle, demo, paper")


def test_a_preset_does_not_overwrite_changes_of_ones_own(tmp_path: Path) -> None:
    _reiqa(tmp_path, "preset", "demo")
    file = tmp_path / "params.yaml"
    file.write_text(file.read_text().replace("seed: 0", "seed: 7", 1))
    _assert_refused(_reiqa(tmp_path, "preset", "paper"), "--force")
    assert _reiqa(tmp_path, "preset", "paper", "--force").returncode == 0


def test_a_preset_reads_neither_a_device_nor_text_in_another_encoding(tmp_path: Path) -> None:
    _assert_refused(_reiqa(tmp_path, "preset", "demo", "--out", "/dev/null"), "is a device")
    (tmp_path / "params.yaml").write_bytes("seed: 7".encode("utf-16"))
    _assert_refused(_reiqa(tmp_path, "preset", "demo"), "has been modified", "--force")


def test_a_missing_parameter_file_is_one_line(tmp_path: Path) -> None:
    _assert_refused(_reiqa(tmp_path, "cross"), "params.yaml: not found", "reiqa preset demo")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("n_aug: 7", "n_agu: 7", ("params.yaml: chunks.n_agu: unknown key", "n_aug")),
        ("n_aug: 7", "n_aug: many", ("params.yaml: chunks.n_aug", "integer", "'many'")),
        (
            "model: ridge",
            "model: forest",
            ("regression.model", "'ridge', 'kernel_ridge', 'elasticnet' or 'svr'"),
        ),
        ("[demo, demo_mixed]", "[demo, koniq]", ("datasets: unknown name 'koniq'", "koniq10k")),
        ("[demo_corpus]", "[coca]", ("chunks.corpora: unknown name 'coca'", "coco")),
        ("fractions: [0.7, 0.1, 0.2]", "fractions: [0.7, 0.2, 0.2]", ("add up to 1",)),
        ("seed: 0", "seed: [", ("not readable as YAML",)),
        ("extras: []", "extras: [fog]", ("bank.extras: unknown name 'fog'", "motion_blur")),
        ("types: published", "types: 3", ("bank.types", "'published' or", "list")),
        ("learning_rate: 0.0001", "learning_rate: fast", ("number or", "'auto'", "'fast'")),
        ("scales: [1.0, 0.5]", "scales: [0.5, 0.5]", ("chunks.scales", "duplicate values")),
        ("corpora: [demo_corpus]\n  view", "corpora: []\n  view", ("content.corpora: required",)),
    ],
)
def test_a_wrong_parameter_is_one_line_that_names_the_key_and_what_is_allowed(
    tmp_path: Path, old: str, new: str, words: tuple[str, ...]
) -> None:
    _reiqa(tmp_path, "preset", "demo")
    file = tmp_path / "params.yaml"
    file.write_text(file.read_text().replace(old, new, 1))
    _assert_refused(_reiqa(tmp_path, "cross"), *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("fetch", "--dataset", "koniq"), ("koniq", "koniq10k")),
        (("index", "--dataset", "demo"), ("data/raw/demo.json", "not found")),
        (("fit", "--dataset", "demo"), ("data/index/demo.csv", "reiqa index --dataset demo")),
        (("fit", "--dataset", "demo_corpus"), ("not a rated dataset", "koniq10k")),
        (("fit", "--dataset", "KonIQ-10k"), ("KonIQ-10k: not a rated", "did you mean koniq10k?")),
        (("datasets", "add", "params.yaml"), ("params.yaml: is a file; name the folder",)),
        (("features", "--params", "."), (".: is a folder; name a parameter file",)),
        (("score", "none.jpg"), ("none.jpg: no such file",)),
        (("score", "none.jpg", "a/*.png"), ("none.jpg: no such file; 1 more argument",)),
        (("features", "--dataset", "demo"), ("models/content.safetensors", "reiqa pretrain")),
        (("features",), ("--dataset", "--images")),
        (("chunks", "--shard", "7/3"), ("--shard 7/3", "0 to 2")),
        (("distort",), ("photograph",)),
        (("distort", "none.jpg"), ("none.jpg: no such file",)),
        (("distort", "\x1b[2Jnone.jpg"), (r"reiqa: \x1b[2Jnone.jpg: no such file",)),
        (("distort", "params.yaml"), ("params.yaml: not an image",)),
        (("distort", "."), (".: Is a directory",)),
        (("distort", "none.jpg", "-o", "a.xyz"), ("a.xyz", "a.png")),
        (("distort", "none.jpg", "-o", "."), (".: is a folder",)),
        (("distort", "none.jpg", "--params", "p.yaml"), ("p.yaml: not found",)),
        (("chunks", "--show", "0"), ("shard-00000.h5: not found", "reiqa chunks --corpus demo")),
        (("chunks", "--show", "0", "-o", "a.xyz"), ("a.xyz", "a.png")),
        (("chunks", "--show", "0", "--verify"), ("--show and --verify",)),
        (("chunks", "--verify"), ("shard-00000.h5: not found", "reiqa chunks --corpus demo")),
        (("weights", "fetch", "moco_v3"), ("moco_v3", "moco_v2_800ep")),
        (("datasets", "add", "none"), ("none: no such folder",)),
        (("datasets", "add", "."), (".: contains the project folder",)),
        (("datasets", "add", "..", "--name", "demo"), ("contains the project folder",)),
        (("datasets", "add", "a", "--score", "mos"), ("--score needs a table", "--ratings")),
        (("preset", "bundle", "--force"), ("no dataset", "reiqa datasets add", "--dataset")),
        (("preset", "bundle", "--bundle", "lihgt", "--dataset", "demo"), ("lihgt", "lite")),
        (("preset", "paper", "--bundle", "lite"), ("reiqa preset bundle",)),
        (("bundle",), ("no dataset given", "--dataset")),
        (("export", "-o", "."), (".: is a folder",)),
        (("export", "-o", "lite.pb"), ("lite.pb: wrong suffix", "lite.onnx")),
        (("export", "-o", "params.yaml/a.onnx"), ("params.yaml is a file",)),
        (("export", "lihgt", "-o", "a.onnx"), ("lihgt: bundle not found", "installed: lite")),
        (("export", "hf://lite", "-o", "a.onnx"), ("hf://lite", "hf://USER/REPO")),
        (("weights", "import", "none.pth", "--expert", "quality"), ("none.pth",)),
    ],
)
def test_a_verb_refuses_what_it_cannot_use_in_one_line(
    tmp_path: Path, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    _reiqa(tmp_path, "preset", "demo")
    _assert_refused(_reiqa(tmp_path, *arguments), *words)


def _photograph(suffix: str, **how: object) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (40, 30)).save(stream, suffix, **how)
    return stream.getvalue()


def _with_a_cut_tag() -> bytes:
    tags = Image.Exif()
    tags[270] = "a description that is cut off"
    return _photograph("JPEG", exif=tags.tobytes()[:20])[:-10]


def _with_too_many_channels() -> bytes:
    count = struct.Struct("<HHII")
    whole = _photograph("TIFF")
    channels, short = 277, 3
    assert count.pack(channels, short, 1, 3) in whole
    return whole.replace(count.pack(channels, short, 1, 3), count.pack(channels, short, 1, 255))


@pytest.mark.parametrize("damaged", [_with_a_cut_tag, _with_too_many_channels])
def test_a_damaged_photograph_gives_one_line_and_no_library_output(
    tmp_path: Path, damaged: Callable[[], bytes]
) -> None:
    (tmp_path / "photograph").write_bytes(damaged())
    _assert_refused(_reiqa(tmp_path, "distort", "photograph"), "photograph: ")


@pytest.mark.parametrize(
    ("arguments", "verb", "words"),
    [
        (("fetch", "--datset", "csiq"), "fetch", ("no such option: --datset", "--dataset)")),
        (("fetch",), "fetch", ("missing option '--dataset'",)),
        (("fetch", "--dataset"), "fetch", ("'--dataset' requires an argument",)),
        (("fecth",), "", ("no such command 'fecth'. Did you mean 'fetch'?",)),
        (("--verbose",), "", ("no such option: --verbose",)),
        (("weights", "imp"), "weights", ("no such command 'imp'",)),
        (("weights", "fetch"), "weights fetch", ("missing argument 'name'",)),
        (("datasets", "ad"), "datasets", ("no such command 'ad'",)),
        (("datasets", "add"), "datasets add", ("missing argument 'folder'",)),
        (("datasets", "--format", "xml"), "datasets", ("'xml' is not one of 'table', 'json'",)),
        (("index", "--dataset", "csiq", "spaq"), "index", ("unexpected extra argument (spaq)",)),
        (("distort", "--seed", "often"), "distort", ("'--seed': must be a valid integer (see",)),
        (("export",), "export", ("missing option '--out'",)),
        (("export", "lite", "b", "-o", "a"), "export", ("unexpected extra argument (b)",)),
        (("bundles", "lite"), "bundles", ("unexpected extra argument (lite)",)),
        (("bundles", "--format", "xml"), "bundles", ("'xml' is not one of 'table', 'json'",)),
    ],
)
def test_a_misspelt_command_error_names_the_remedy(
    tmp_path: Path, arguments: tuple[str, ...], verb: str, words: tuple[str, ...]
) -> None:
    done = _reiqa(tmp_path, *arguments)
    command = " ".join(["reiqa", *verb.split()])
    _assert_refused(done, *words, f"(see: {command} --help)")
    assert done.stderr.startswith(f"reiqa: {verb}")
    assert done.stdout == ""


@pytest.mark.parametrize("group", [(), ("weights",)])
def test_a_group_without_a_verb_explains_itself(tmp_path: Path, group: tuple[str, ...]) -> None:
    done = _reiqa(tmp_path, *group)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage: reiqa" in done.stdout and "fetch" in done.stdout
    assert done.stdout == _reiqa(tmp_path, *group, "--help").stdout


def test_a_reader_that_goes_away_is_no_traceback(tmp_path: Path) -> None:
    command = f"{sys.executable} -m reiqa datasets | head -1"
    done = subprocess.run(
        command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("set") and done.stderr == ""


def test_to_read_a_projects_parameters_takes_no_torch() -> None:
    code = (
        "import sys; from pathlib import Path; from reiqa import doctor, pipeline;"
        f" pipeline.load_params(Path({str(PARAMS)!r})); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_version_and_short_help_need_no_torch() -> None:
    code = (
        "import sys\nfrom reiqa import cli\nsys.argv = ['reiqa', {!r}]\n"
        "try: cli.main()\nexcept SystemExit as end: assert not end.code\n"
        "assert 'torch' not in sys.modules"
    )
    for option, says in (("--version", f"reiqa {metadata.version('reiqa')}"), ("-h", "Usage")):
        done = subprocess.run(
            [sys.executable, "-c", code.format(option)], capture_output=True, text=True, check=True
        )
        assert says in done.stdout
