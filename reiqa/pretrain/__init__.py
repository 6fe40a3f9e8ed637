"""MoCo-v2 pretraining of both experts: one engine, two kinds of views."""

from reiqa.pretrain.loop import pretrain

__all__ = ["pretrain"]
