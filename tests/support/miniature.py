"""Parameters of the smallest run on one rated set, its experts as they come from a package."""

from typing import Any

TREE: dict[str, Any] = {
    "preset": "test",
    "datasets": ["clive"],
    "compute": {"device": "cpu"},
    "chunks": {"corpora": ["demo_corpus"]},
    "content": {"source": "package", "backbone": "efficientnet_lite0"},
    "quality": {"source": "package", "backbone": "efficientnet_lite0"},
    "features": {"max_pixels": 65_536},
}
