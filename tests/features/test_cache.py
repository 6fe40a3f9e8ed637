"""The cache file: whole or refused, and the same bytes for the same content."""

import time

import numpy as np
import pytest

from reiqa.errors import BadInputError
from reiqa.features import cache


def content(count: int = 5, width: int = 3) -> cache.FeatureTable:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(count, width)).astype(np.float32)
    errors = [""] * count
    if count > 2:
        errors[2], values[2] = "größe.png: damaged", np.nan
    return cache.FeatureTable(
        [f"a/größe {number}.png" for number in range(count)],
        values,
        [f"{number:064x}" for number in range(count)],
        errors,
        np.linspace(0.5, 1, count).astype(np.float32),
        cache.FeatureRecipe(
            {"quality": "w", "content": "v"}, {"scales": [1.0, 0.5], "resize": None}
        ),
        "digest",
    )


@pytest.mark.parametrize("count", [0, 1, 5, 600])
def test_what_is_written_is_read(tmp_path, count):
    expected = content(count)
    cache.write_features(tmp_path / "f.h5", expected)
    found = cache.read_features(tmp_path / "f.h5")
    assert found.images == expected.images
    assert found.digests == expected.digests
    assert found.errors == expected.errors
    assert found.recipe == expected.recipe
    assert list(found.recipe.weights) == ["quality", "content"]
    assert found.index == "digest"
    np.testing.assert_array_equal(found.values, expected.values)
    np.testing.assert_array_equal(found.shrunk, expected.shrunk)
    assert found.values.dtype == np.float32


def test_the_same_features_give_the_same_bytes(tmp_path):
    cache.write_features(tmp_path / "a.h5", content())
    time.sleep(1.1)
    cache.write_features(tmp_path / "b.h5", content())
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.5, 0.9, 0.999])
def test_a_cache_cut_off_anywhere_is_refused_in_one_line(tmp_path, share):
    path = tmp_path / "f.h5"
    cache.write_features(path, content(600, 20))
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(BadInputError, match=r"f\.h5: .*Delete it") as caught:
        cache.read_features(path)
    assert "\n" not in str(caught.value)


def test_a_cache_with_a_flipped_bit_among_its_numbers_is_refused(tmp_path):
    path = tmp_path / "f.h5"
    expected = content(600, 20)
    cache.write_features(path, expected)
    data = bytearray(path.read_bytes())
    place = data.index(expected.values[300].tobytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(BadInputError, match="Delete it"):
        cache.read_features(path)


def test_another_file_or_none_is_refused(tmp_path):
    (tmp_path / "text.h5").write_text("no HDF5 at all")
    for name in ("text.h5", "absent.h5"):
        with pytest.raises(BadInputError, match=name):
            cache.read_features(tmp_path / name)


def test_columns_of_unequal_length_are_refused(tmp_path):
    wrong = cache.FeatureTable(**{**vars(content()), "errors": ["one"]})
    cache.write_features(tmp_path / "f.h5", wrong)
    with pytest.raises(BadInputError, match="differ in length"):
        cache.read_features(tmp_path / "f.h5")
