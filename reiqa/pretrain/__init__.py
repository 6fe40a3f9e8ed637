"""MoCo-v2 pretraining of both experts: one engine, two kinds of views; and what came of it."""

from reiqa.pretrain.loop import pretrain

__all__ = ["pretrain"]
