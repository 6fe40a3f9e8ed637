"""Blind image quality assessment with two self-supervised experts (Re-IQA, CVPR 2023)."""

__version__ = "0.1.0"
