"""Make the small copies of gb82 and Kodak photographs that ship in reiqa/data/photographs.

    python benchmarks/demo_photographs.py --mirror DIR     DIR/pristine holds gb82 and kodak

Writes a JPEG of at most 512 pixels for each photograph, and SHA256SUMS. Pixels depend on the
version of Pillow and its JPEG library (requirements.lock).
"""

import argparse
from pathlib import Path

from PIL import Image

from reiqa import store
from reiqa.data import demo
from reiqa.images import read_rgb

FOLDER = demo.FOLDER
LONGER_SIDE = 512
SAVED = {"quality": 92, "optimize": True}
# Renderings of a game, not photographs.
LEFT_OUT = {"house", "mc1", "mc2", "mc3"}


def find_photographs(pristine: Path) -> dict[str, Path]:
    """Return the original of each copy by the name of the copy."""
    found = {}
    for path in sorted(pristine.glob("gb82/*.webp")):
        name = path.stem.removesuffix("-lossless")
        if name not in LEFT_OUT:
            found[f"gb82_{name}"] = path
    for path in sorted(pristine.glob("kodak/*.webp")):
        found[f"kodak_{int(path.stem):02d}"] = path
    return dict(sorted(found.items()))


def shrink(original: Path) -> Image.Image:
    """Return a copy of at most `LONGER_SIDE` pixels."""
    image = Image.fromarray(read_rgb(original))
    image.thumbnail((LONGER_SIDE, LONGER_SIDE), Image.Resampling.LANCZOS)
    return image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mirror", type=Path, required=True)
    pristine = parser.parse_args().mirror / "pristine"
    sums = ""
    for name, original in find_photographs(pristine).items():
        path = FOLDER / f"{name}.jpg"
        shrink(original).save(path, **SAVED)
        sums += f"{store.file_digest(path)}  {path.name}\n"
    store.write_text(FOLDER / "SHA256SUMS", sums)


if __name__ == "__main__":
    main()
