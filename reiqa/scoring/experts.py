"""The experts of a bundle on the CPU: ONNX graphs that onnxruntime runs without PyTorch."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime

from reiqa.errors import BadInputError
from reiqa.images.resize import FloatImages
from reiqa.params import EXPERTS, ExpertName
from reiqa.scoring.bundle import Bundle
from reiqa.scoring.head import Features

#: Names of the input, ``(N, 3, H, W)`` in [0, 1], and of the output, ``(N, width)``.
INPUT, OUTPUT = "images", "features"

#: Memory for more numbers than these, a photograph of 2 megapixels, is returned after use.
_LARGE = 3 * 2_000_000


class Experts(Protocol):
    """Both experts of a bundle on some device."""

    def features(self, expert: ExpertName, views: Sequence[FloatImages]) -> Features:
        """Return features ``(N, D)`` of N images.

        Args:
            expert: name of the expert.
            views: the images at each scale of the recipe, ``(N, 3, h, w)``.
        """
        ...


class OnnxExperts:
    """Both experts as ONNX graphs. Thread-safe; each call runs on the calling thread alone."""

    def __init__(self, bundle: Bundle) -> None:
        """Load the graphs, whose weights lie in the safetensors files beside them.

        Raises:
            BadInputError: a graph cannot be loaded or does not match the manifest.
        """
        self._sessions = {expert: _load(bundle, expert) for expert in EXPERTS}

    def features(self, expert: ExpertName, views: Sequence[FloatImages]) -> Features:
        """See `Experts.features`."""
        session = self._sessions[expert]
        return np.concatenate([_run(session, view) for view in views], axis=1)


def _run(session: onnxruntime.InferenceSession, images: FloatImages) -> Features:
    options = None
    if images.size > _LARGE:
        options = onnxruntime.RunOptions()
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    rows: Features = session.run([OUTPUT], {INPUT: images}, options)[0]
    return rows


@cache
def _share_memory() -> None:
    """Let all sessions of this process reuse one pool of memory; each would keep its own."""
    memory = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    onnxruntime.create_and_register_allocator(memory, onnxruntime.OrtArenaCfg(0, -1, -1, -1))


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """Load a graph to run on the calling thread.

    A single thread gives the same result on every machine with the same kernels, and leaves the
    processors to other images.

    Raises:
        BadInputError: the file is not a graph that onnxruntime can run.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # Errors are raised; do not print them as well.
    # Plans of memory serve inputs of one size; images have many.
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.use_env_allocators", "1")
    _share_memory()
    try:
        return onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no common base class
        reason = " ".join(str(error).split())
        raise BadInputError(f"{path}: onnxruntime cannot load this graph ({reason})") from None


def _load(bundle: Bundle, expert: ExpertName) -> onnxruntime.InferenceSession:
    path, width = bundle.part(f"{expert}.onnx"), bundle.manifest.experts[expert].width
    session = open_session(path)
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if [node.name for node in (*inputs, *outputs)] != [INPUT, OUTPUT]:
        raise BadInputError(f"{path}: expected one input {INPUT!r} and one output {OUTPUT!r}")
    if outputs[0].shape[-1] != width:
        raise BadInputError(f"{path}: {outputs[0].shape[-1]} features; the manifest says {width}")
    return session
