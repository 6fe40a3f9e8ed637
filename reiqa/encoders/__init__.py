"""The two experts' encoders: any backbone, their files, and weights published elsewhere."""

from reiqa.encoders.backbones import NORMALISATION, Encoder, build
from reiqa.encoders.files import load, save
from reiqa.encoders.pooling import Pooled, pooled
from reiqa.encoders.published import import_weights, obtain, packaged

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
