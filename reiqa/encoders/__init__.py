"""Encoders of the two experts: backbones, pooling, files and published weights."""

from reiqa.encoders.backbones import NORMALIZATION, Encoder, build_encoder
from reiqa.encoders.import_weights import (
    bundle_card,
    import_expert,
    import_weights,
    initial_encoder,
    load_packaged,
)
from reiqa.encoders.interpolation import interpolate
from reiqa.encoders.pooling import StagePooledEncoder, check_backbone, with_pooling
from reiqa.encoders.serialization import load_encoder, save_encoder

__all__ = [
    "NORMALIZATION",
    "Encoder",
    "StagePooledEncoder",
    "build_encoder",
    "bundle_card",
    "check_backbone",
    "import_expert",
    "import_weights",
    "initial_encoder",
    "interpolate",
    "load_encoder",
    "load_packaged",
    "save_encoder",
    "with_pooling",
]
