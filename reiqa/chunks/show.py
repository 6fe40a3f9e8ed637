"""Draw one chunk: the positions of its crops, and all versions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from reiqa import store, tensors
from reiqa.chunks.geometry import overlap_share
from reiqa.chunks.recipe import ChunkRecipe
from reiqa.chunks.render import RenderedPairs, render
from reiqa.chunks.shards import Pixels, ShardReader
from reiqa.distortions import LEVELS, TYPES
from reiqa.errors import BadInputError

_PAPER, _INK, _SOFT, _LINE = "#fbfaf7", "#22262b", "#6f767e", "#d9d6cf"
#: Colours of the two crops of a pair.
_CROPS = ("#e8590c", "#1971c2")
_DPI = 100
_EDGE, _GAP, _CARD_GAP, _HEAD = 44, 8, 40, 74
_CARDS_A_ROW = 6
#: Minimum displayed size of a crop, and displayed longer side of the window, in pixels.
_CROP, _WINDOW = 160, 744
#: Width of the text next to the window, in pixels.
_TEXT_WIDTH = 700


def draw_chunk(paths: Sequence[Path], number: int, out: Path) -> Path:
    """Draw a chunk of the first epoch: the window with outlined crops, and all versions.

    Args:
        paths: the shards of a corpus, in order.
        number: index of the window over all shards, from 0.
        out: PNG file to write.

    Raises:
        BadInputError: a shard cannot be read, the window does not exist, or ``out`` is not
            writable.
    """
    store.check_target(out, ".png")
    window, recipe = _window(paths, number)
    pairs = render([window], [recipe])
    with store.atomic(store.link_target(out)) as temporary:
        figure = _draw_figure(window.permute(1, 2, 0).numpy(), recipe, pairs)
        figure.savefig(temporary, format="png", dpi=_DPI, metadata={"Software": None})
    return out


def _window(paths: Sequence[Path], number: int) -> tuple[Tensor, ChunkRecipe]:
    """Return a window by its index, without reading later shards."""
    before = 0
    for path in paths:
        reader = ShardReader([path])
        if before <= number < before + len(reader):
            found = reader.window(number - before)
            reader.close()
            return found
        before += len(reader)
    raise BadInputError(f"--show {number}: no such window; there are {before}, counted from 0")


def _draw_figure(window: Pixels, recipe: ChunkRecipe, pairs: RenderedPairs) -> Figure:
    """Draw the figure: window and text at the top, cards of the versions below."""
    versions, scales = recipe.plan.versions, len(recipe.pairs)
    crop = recipe.plan.patch * -(-_CROP // recipe.plan.patch)
    columns = min(_CARDS_A_ROW, -(-versions // 2))
    card = (2 * crop + _GAP, _HEAD + scales * crop + (scales - 1) * _GAP)
    zoom = _WINDOW / max(recipe.height, recipe.width)
    top = _EDGE + round(recipe.height * zoom) + _EDGE
    width = 2 * _EDGE + max(
        columns * (card[0] + _CARD_GAP) - _CARD_GAP, _WINDOW + _EDGE + _TEXT_WIDTH
    )
    apart = (width - 2 * _EDGE - card[0]) / max(1, columns - 1)
    height = top + -(-versions // columns) * (card[1] + _CARD_GAP) + _EDGE - _CARD_GAP
    figure = Figure(figsize=(width / _DPI, height / _DPI), facecolor=_PAPER)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    _draw_window(axes, window, recipe, zoom)
    text_left = _EDGE + recipe.width * zoom + _EDGE
    text_bottom = _draw_description(axes, recipe, text_left)
    _draw_place(axes, recipe, text_left, text_bottom, top - _EDGE - text_bottom)
    for version in range(versions):
        row, column = divmod(version, columns)
        left, upper = _EDGE + column * apart, top + row * (card[1] + _CARD_GAP)
        _draw_card(axes, recipe, pairs, version, crop, left, upper)
    return figure


def _draw_window(axes: Axes, window: Pixels, recipe: ChunkRecipe, zoom: float) -> None:
    """Draw the stored pixels, the content square and all crops."""
    height, width = window.shape[:2]
    _draw_pixels(axes, window, _EDGE, _EDGE, width * zoom, height * zoom, smooth=True)

    def outline(top: float, left: float, side: float, **style: Any) -> tuple[float, float]:
        x = _EDGE + (left - recipe.frame.left) * zoom
        y = _EDGE + (top - recipe.frame.top) * zoom
        axes.add_patch(Rectangle((x, y), side * zoom, side * zoom, fill=False, **style))
        return x, y

    outline(*recipe.content, recipe.plan.content, ec="white", lw=1.2, ls=(0, (1, 3)))
    for scale, pair in zip(recipe.plan.scales[::-1], recipe.pairs[::-1], strict=True):
        side, line = recipe.plan.patch / scale, "-" if scale == 1 else "--"
        for name, colour, (top, left) in zip("AB", _CROPS, pair, strict=True):
            outline(top / scale, left / scale, side, ec="white", lw=5.0, ls=line)
            x, y = outline(top / scale, left / scale, side, ec=colour, lw=2.2, ls=line)
            label = name if scale == 1 else f"{name} ½"
            axes.text(x + 12, y + 13, label, color="white", fontsize=11, weight="bold", va="top",
                      bbox={"boxstyle": "round,pad=0.35", "fc": colour, "ec": "none"})  # fmt: skip


def _draw_description(axes: Axes, recipe: ChunkRecipe, left: float) -> float:
    """Draw the description of the chunk and return its bottom."""
    plan, frame = recipe.plan, recipe.frame
    lines = [
        ("photograph", f"{recipe.corpus}/{recipe.image}, {frame.width} × {frame.height} px"),
        ("window", f"{recipe.width} × {recipe.height} px, at ({frame.left}, {frame.top}); "
                   f"draw {recipe.draw}"),
        ("dotted square", f"{plan.content} px: all crops of every epoch lie in it"),
        ("seed, epoch", f"{plan.seed}, {recipe.epoch}"),
    ]  # fmt: skip
    for scale, pair in zip(plan.scales, recipe.pairs, strict=True):
        down, right = (second - first for first, second in zip(*pair, strict=True))
        name = "scale 1" if scale == 1 else "scale ½"
        line = "solid" if scale == 1 else "dashed"
        share = overlap_share(pair, plan.patch)
        lines.append((name, f"{line}: B lies {_direction(down, right)} of A, overlap {share:.1%}"))
    axes.text(left, _EDGE, f"A chunk of {plan.versions} versions", fontsize=25, weight="bold",
              color=_INK, va="top")  # fmt: skip
    y = _EDGE + 82.0
    for name, words in lines:
        axes.text(left, y, name, fontsize=13, color=_SOFT, va="top")
        axes.text(left + 170, y, words, fontsize=13, color=_INK, va="top")
        y += 36
    y += 14
    for x, name, colour in zip((left, left + 40), "AB", _CROPS, strict=True):
        axes.add_patch(Rectangle((x, y), 26, 26, fc=colour, ec="none"))
        axes.text(x + 13, y + 13, name, color="white", weight="bold", fontsize=12, ha="center",
                  va="center_baseline")  # fmt: skip
    axes.text(left + 88, y + 13, "the crops, wherever they appear; ⇄ where B became the query",
              fontsize=13, color=_INK, va="center_baseline")  # fmt: skip
    return y + 72


def _draw_place(axes: Axes, recipe: ChunkRecipe, left: float, top: float, room: float) -> None:
    """Draw a small map of window and content in the frame, with maximum height ``room``."""
    frame, side = recipe.frame, recipe.plan.content
    zoom = min(room / frame.height, 0.6 * _TEXT_WIDTH / frame.width)

    def box(y: float, x: float, height: float, width: float, **style: Any) -> None:
        corner = (left + x * zoom, top + y * zoom)
        axes.add_patch(Rectangle(corner, width * zoom, height * zoom, **style))

    box(0, 0, frame.height, frame.width, fc="white", ec=_LINE, lw=1.5)
    box(frame.top, frame.left, recipe.height, recipe.width, fc=_LINE, ec=_SOFT, lw=1.2)
    box(*recipe.content, side, side, fill=False, ec=_INK, lw=1.2, ls=(0, (1, 2)))
    axes.text(left + frame.width * zoom + 18, top + 2, "where the window\nlies in the frame",
              fontsize=11, color=_SOFT, va="top", linespacing=1.5)  # fmt: skip


def _draw_card(
    axes: Axes,
    recipe: ChunkRecipe,
    pairs: RenderedPairs,
    version: int,
    crop: int,
    left: float,
    top: float,
) -> None:
    """Draw one version: query and key at each scale, framed in the colour of their crop."""
    kind = TYPES[recipe.types[version - 1]].title if version else "Undistorted"
    right = left + 2 * crop + _GAP
    for name, middle in (("query", left + crop / 2), ("key", right - crop / 2)):
        axes.text(middle, top + _HEAD - 14, name, fontsize=9, color=_SOFT, ha="center", va="bottom")
    axes.plot([left, right], [top + 2, top + 2], color=_LINE, lw=1.2)
    axes.text(left, top + 13, kind, fontsize=13.5, weight="bold", color=_INK, va="top")
    if version:
        level = recipe.levels[version - 1]
        dots = "●" * level + "○" * (LEVELS - level)
        axes.text(right, top + 14, dots, fontsize=12, color=_SOFT, va="top", ha="right")
    for scale, ratio in enumerate(recipe.plan.scales):
        swapped = recipe.swapped(scale, version)
        y = top + _HEAD - 6 + scale * (crop + _GAP)
        axes.text(left - 6, y + crop / 2, "scale 1" if ratio == 1 else "scale ½", fontsize=9,
                  color=_SOFT, rotation=90, ha="right", va="center")  # fmt: skip
        for side, tensor in enumerate((pairs.query, pairs.key)):
            x = left + side * (crop + _GAP)
            pixels = tensors.to_uint8(tensor[0, scale, version]).permute(1, 2, 0).numpy()
            _draw_pixels(axes, pixels, x, y, crop, crop, smooth=False)
            colour = _CROPS[side ^ swapped]
            axes.add_patch(Rectangle((x, y), crop, crop, fill=False, ec=colour, lw=2.4))
        if swapped:
            disc = {"boxstyle": "circle,pad=0.22", "fc": "white", "ec": _INK, "lw": 1.0}
            axes.text(left + crop + _GAP / 2, y + crop / 2, "⇄", fontsize=15, color=_INK,
                      ha="center", va="center", bbox=disc)  # fmt: skip


def _draw_pixels(
    axes: Axes,
    pixels: Pixels,
    left: float,
    top: float,
    width: float,
    height: float,
    *,
    smooth: bool,
) -> None:
    axes.imshow(
        pixels,
        extent=(left, left + width, top + height, top),
        interpolation="antialiased" if smooth else "nearest",
        aspect="auto",
    )


def _direction(down: int, right: int) -> str:
    """Return the offset of the second crop from the first in words."""
    vertical = f"{abs(down)} px {'below' if down > 0 else 'above'}"
    horizontal = f"{abs(right)} px {'right' if right > 0 else 'left'}"
    return f"{vertical}, {horizontal}"
