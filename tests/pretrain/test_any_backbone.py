"""Any backbone goes the whole way: a convolutional one and a transformer, at two image sizes."""

import numpy as np
import pytest
from PIL import Image

from reiqa import encoders
from reiqa.features import cache, extraction
from reiqa.pretrain.loop import pretrain


@pytest.mark.parametrize(
    ("backbone", "width"),
    [
        ("mobilenet_v3_small", 576),
        ("swin_t", 768),
        ("timm/mobilenetv3_small_050", 1024),
        ("timm/vit_tiny_patch16_224", 192),
        ("timm/swin_tiny_patch4_window7_224", 768),
        ("timm/convnext_atto", 320),
    ],
)
def test_a_backbone_goes_through_pretraining_and_features_at_two_sizes(
    project, patterns, make, backbone, width
):
    settings = make(epochs=1, batch_size=2, queue_size=8)
    patterns.items = 4
    expert = settings.quality.model_copy(update={"backbone": backbone})
    settings = settings.model_copy(update={"quality": expert})
    assert encoders.load_encoder(pretrain("quality", settings)).width == width
    (project / "photos").mkdir()
    for name, size in (("wide.png", (96, 64)), ("tall.png", (70, 90))):
        pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(project / "photos" / name)
    out = project / "features.h5"
    extraction.extract_folder(project / "photos", ["quality"], settings, out)
    found = cache.read_features(out)
    assert found.values.shape == (2, 2 * width)
    assert np.isfinite(found.values).all()
    assert not np.array_equal(found.values[0], found.values[1])
