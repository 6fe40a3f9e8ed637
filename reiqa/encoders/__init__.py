"""The two experts' encoders: any backbone, their files, and weights published elsewhere."""

from reiqa.encoders.backbones import NORMALISATION, Encoder, build
from reiqa.encoders.files import load, save
from reiqa.encoders.published import import_weights, obtain, packaged

__all__ = [
    "NORMALISATION",
    "Encoder",
    "build",
    "import_weights",
    "load",
    "obtain",
    "packaged",
    "save",
]
