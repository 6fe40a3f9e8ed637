"""Names of the experts and of what is computed from them, importable without pydantic."""

from typing import Literal, TypeAlias

ExpertName: TypeAlias = Literal["content", "quality"]
Pooling: TypeAlias = Literal["last", "stages"]
Variant: TypeAlias = Literal["content", "quality", "both"]

EXPERTS: tuple[ExpertName, ...] = ("content", "quality")
VARIANTS: tuple[Variant, ...] = ("content", "quality", "both")
