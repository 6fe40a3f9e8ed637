import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional
from torchvision.transforms import v2

from reiqa import layout, params, store
from reiqa.errors import BadInputError
from reiqa.pretrain import augmentation, views
from reiqa.pretrain.augmentation import draw_view, make_view, make_views

CPU = torch.device("cpu")


@pytest.fixture
def settings():
    training = {"epochs": 1, "batch_size": 2}
    return params.Params.model_validate(
        {
            "preset": "test",
            "datasets": ["demo"],
            "bank": {"types": "published"},
            "chunks": {"corpora": ["kodak"], "n_aug": 3, "patch": 16, "images_per_shard": 12},
            "content": {
                "source": "pretrain",
                "backbone": "resnet18",
                "corpora": ["kodak"],
                "view": 32,
                "training": training,
            },
            "quality": {"source": "pretrain", "backbone": "resnet18", "training": training},
        }
    )


@pytest.fixture
def corpus(project, monkeypatch):
    """Three small photographs, and an index of them."""
    from reiqa.data.index import CorpusImage
    from reiqa.store import file_digest

    rows = []
    for number, name in enumerate(("a.png", "b.png", "c.png")):
        path = layout.raw("kodak") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draw = np.random.default_rng(number)
        pixels = np.kron(draw.integers(0, 256, (12, 15, 3)), np.ones((10, 10, 1)))
        Image.fromarray(pixels.astype(np.uint8)).save(path)
        rows.append(CorpusImage(name, 150, 120, file_digest(path)[:16]))
    for module in ("reiqa.pretrain.views", "reiqa.chunks.shards"):
        monkeypatch.setattr(f"{module}.read_corpus", lambda path: rows)
    return rows


def test_content_views_are_two_other_crops_of_one_photograph(corpus, settings):
    source = views.view_source("content", settings)
    assert (len(source), source.pairs) == (3, 1)
    query, key, _ = source.render([source.read(0, 0), source.read(2, 0)], CPU)
    assert query.shape == key.shape == (2, 1, 3, 32, 32)
    assert query.min() >= 0 and query.max() <= 1
    assert not torch.equal(query, key)


def test_content_views_depend_on_item_and_turn_and_not_on_the_batch(corpus, settings):
    source = views.view_source("content", settings)
    together = source.render([source.read(item, 1) for item in (0, 1, 2)], CPU)[0]
    alone = source.render([source.read(1, 1)], CPU)[0]
    later = source.render([source.read(1, 2)], CPU)[0]
    assert torch.equal(together[1], alone[0])
    assert not torch.equal(alone, later)


def test_a_large_jpeg_is_read_no_larger_than_its_smallest_view_needs(corpus, settings):
    smooth = Image.effect_mandelbrot((1600, 1200), (-3, -2.5, 2, 2.5), 50).convert("RGB")
    smooth.save(layout.raw("kodak") / "large.jpg", quality=95)
    corpus.append(type(corpus[0])("large.jpg", 1600, 1200, "0" * 16))
    pixels = views.view_source("content", settings).read(3, 0).pixels
    least = 0.2 * pixels.shape[1] * pixels.shape[2]
    assert pixels.shape == (3, 150, 200) and np.sqrt(least * 3 / 4) >= 32


def reference(side):
    """MoCo-v2's augmentation as torchvision composes it."""
    return v2.Compose(
        [
            v2.RandomResizedCrop(side, scale=(0.2, 1.0), ratio=(3 / 4, 4 / 3), antialias=True),
            v2.ToDtype(torch.float32, scale=True),
            v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            v2.RandomGrayscale(0.2),
            v2.RandomApply([v2.GaussianBlur(side // 10 | 1, sigma=(0.1, 2.0))], p=0.5),
            v2.RandomHorizontalFlip(),
        ]
    )


def test_a_view_is_what_torchvisions_transforms_make(photographs):
    for seed, pixels in enumerate(photographs * 8):
        torch.manual_seed(seed)
        expected = reference(32)(pixels)
        torch.manual_seed(seed)
        assert torch.equal(make_view(pixels, draw_view(pixels, 32), 32), expected)


def test_views_made_at_once_as_on_a_gpu_are_those_made_one_by_one(photographs, monkeypatch):
    torch.manual_seed(0)
    photographs = photographs * 6
    draws = [(draw_view(pixels, 32), draw_view(pixels, 32)) for pixels in photographs]
    # Resizing apart: to a grey level, which brightness or saturation may double.
    crops = augmentation._resized_crops
    together = make_views(photographs, draws, 32, CPU)
    alone = [
        [make_view(p, drawn, 32) for drawn in own]
        for p, own in zip(photographs, draws, strict=True)
    ]
    alone = torch.stack([torch.stack(own) for own in alone])
    assert together.shape == alone.shape == (len(photographs), 2, 3, 32, 32)
    apart = (together - alone).abs()
    assert apart.max() < 6 / 255 and apart.mean() < 0.3 / 255

    def resized(canvas, flat, side):
        return torch.stack(
            [
                v2.functional.resized_crop(photographs[at // 2], *drawn.box, size=[side, side])
                for at, drawn in enumerate(flat)
            ]
        )

    assert (
        crops(stacked(photographs), sum(draws, ()), 32).int()
        - resized(None, sum(draws, ()), 32).int()
    ).abs().max() <= 1
    monkeypatch.setattr(augmentation, "_resized_crops", resized)
    together = make_views(photographs, draws, 32, CPU)
    torch.testing.assert_close(together, alone, atol=3e-6, rtol=0)


def test_draws_that_a_loader_has_copied_as_lists_make_the_same_views(photographs):
    """torch's loaders with ``pin_memory`` have turned tuples into lists."""
    torch.manual_seed(0)
    draws = [(draw_view(pixels, 32), draw_view(pixels, 32)) for pixels in photographs]
    assert any(drawn.order for own in draws for drawn in own)
    lists = [[drawn._replace(order=[*drawn.order]) for drawn in own] for own in draws]
    assert torch.equal(
        make_views(photographs, lists, 32, CPU), make_views(photographs, draws, 32, CPU)
    )


def stacked(photographs):
    height, width = (max(p.shape[axis] for p in photographs) for axis in (1, 2))
    padded = torch.zeros(len(photographs), 3, height, width, dtype=torch.uint8)
    for place, photograph in zip(padded, photographs, strict=True):
        place[:, : photograph.shape[1], : photograph.shape[2]] = photograph
    return padded


@pytest.fixture
def photographs():
    """Smooth noise of several sizes, uint8."""
    draw = torch.Generator().manual_seed(1)
    sizes = [(120, 150), (64, 40), (33, 200)]
    noise = [torch.rand(1, 3, h // 4 + 1, w // 4 + 1, generator=draw) for h, w in sizes]
    return [
        functional.interpolate(each, size=size, mode="bilinear")[0].mul(255).to(torch.uint8)
        for each, size in zip(noise, sizes, strict=True)
    ]


def test_making_views_leaves_the_callers_randomness(corpus, settings):
    source = views.view_source("content", settings)
    torch.manual_seed(3)
    wanted = torch.rand(2)
    torch.manual_seed(3)
    source.render([source.read(0, 0)], CPU)
    assert torch.equal(torch.rand(2), wanted)


def test_quality_views_are_chunk_pairs_redrawn_each_repeat(corpus, settings):
    from reiqa import catalog
    from reiqa.chunks import shards

    of = settings.chunks.shard_count(catalog.get_entry("kodak").images)
    for number in range(of):
        shards.write_shard("kodak", number, of, settings)
    source = views.view_source("quality", settings)
    assert (len(source), source.pairs) == (3, 8)
    assert source.inputs == [layout.shard("kodak", number) for number in range(of)]
    query, key, labels = source.render([source.read(item, 0) for item in (0, 2)], CPU)
    assert labels is None
    assert query.shape == key.shape == (4, 4, 3, 16, 16)
    later, _, _ = source.render([source.read(item, 1) for item in (0, 2)], CPU)
    assert not torch.equal(query, later)
    again, _, _ = source.render([source.read(2, 0)], CPU)
    assert torch.equal(again, query[2:])


def test_a_damaged_shard_ends_pretraining_before_its_first_step(corpus, settings, monkeypatch):
    from reiqa import catalog
    from reiqa.chunks import shards
    from reiqa.pretrain import loop

    monkeypatch.setattr(
        loop.PretrainingRun, "launch_step", lambda *_: pytest.fail("a step was taken")
    )
    of = settings.chunks.shard_count(catalog.get_entry("kodak").images)
    for number in range(of):
        store.sign_sidecar(
            shards.write_shard("kodak", number, of, settings),
            "chunks",
            f"kodak/{number:05d}",
            {},
            {},
        )
    last = layout.shard("kodak", of - 1)
    spoilt = bytearray(last.read_bytes())
    # The middle of the file is pixels: no window of it is read to find out.
    spoilt[len(spoilt) // 2] ^= 1
    last.write_bytes(bytes(spoilt))
    with pytest.raises(BadInputError, match=rf"^{last}: corrupted .* reiqa chunks --corpus kodak"):
        loop.pretrain("quality", settings)
