"""The two experts' encoders: any backbone, their files, and weights published elsewhere."""

from reiqa.encoders.backbones import NORMALIZATION, Encoder, build_encoder
from reiqa.encoders.serialization import load_encoder, save_encoder
from reiqa.encoders.pooling import StagePooledEncoder, with_pooling
from reiqa.encoders.import_weights import import_weights, import_expert, load_packaged

__all__ = [
    "NORMALISATION",
    "Encoder",
    "Pooled",
    "build",
    "import_weights",
    "load",
    "obtain",
    "packaged",
    "pooled",
    "save",
]
