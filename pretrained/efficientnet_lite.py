"""EfficientNet-Lite0 for Keras, which has it not: EfficientNet-B0 without squeeze-and-excitation, with ReLU6 (R. Liu,
*Higher accuracy on vision models with EfficientNet-Lite*, TensorFlow blog 2020; M. Tan and Q. Le, 2019, arXiv
1905.11946). It is built as `keras.applications` builds its networks, and its ImageNet weights come with a package
(`pretrained.backbones`), so that they need no network.
"""

import itertools
from typing import Any

import keras
from keras import layers

# The stages: kernel, blocks, stride of the first of them, expansion, channels.
STAGES = (
    (3, 1, 1, 1, 16),
    (3, 2, 2, 6, 24),
    (5, 2, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (5, 3, 1, 6, 112),
    (5, 4, 2, 6, 192),
    (3, 1, 1, 6, 320),
)
STEM_CHANNELS, TOP_CHANNELS = 32, 1280


def preprocess_input(images: Any) -> Any:
    """Images RGB in 0…255, an array or a symbol of Keras, as the weights expect them: -127/128 to 1."""
    return (images - 127) / 128


def EfficientNetLite0(  # noqa: N802
    *, include_top: bool, weights: None, pooling: str, input_shape: tuple[int | None, ...]
) -> keras.Model:
    """The network with random weights, as `keras.applications` builds others.

    Args:
        include_top: whether it ends in the probabilities of ImageNet's 1,000 classes; else in its features, float32
            (batch, 1280).
        weights: None; they are set afterwards.
        pooling: avg, as of the others.
        input_shape: height and width, or None for any, and 3.
    """
    if weights is not None or pooling != "avg":
        raise ValueError(f"weights={weights!r} and pooling={pooling!r}: it is built with None and 'avg' alone")
    images = keras.Input(input_shape)
    x = _normalized(layers.Conv2D(STEM_CHANNELS, 3, 2, "same", use_bias=False, name="stem_conv")(images), "stem")
    x = layers.ReLU(6, name="stem_relu6")(x)  # (batch, height / 2, width / 2, 32)
    number = itertools.count()
    for kernel, num_blocks, stride, expansion, num_channels in STAGES:
        for step in (stride, *[1] * (num_blocks - 1)):
            x = _block(x, kernel, step, expansion, num_channels, f"block{next(number)}")
    x = _normalized(layers.Conv2D(TOP_CHANNELS, 1, use_bias=False, name="top_conv")(x), "top")
    x = layers.ReLU(6, name="top_relu6")(x)  # (batch, height / 32, width / 32, 1280)
    x = layers.GlobalAveragePooling2D(name="avg_pool")(x)  # (batch, 1280)
    if include_top:
        x = layers.Dense(1000, activation="softmax", name="predictions")(x)
    return keras.Model(images, x, name="efficientnet_lite0")


def _block(
    x: keras.KerasTensor, kernel: int, stride: int, expansion: int, num_channels: int, name: str
) -> keras.KerasTensor:
    """An inverted residual block: channels are expanded, filtered each by itself, and brought together again."""
    before = x
    if expansion != 1:
        x = layers.Conv2D(expansion * x.shape[-1], 1, use_bias=False, name=f"{name}_expand_conv")(x)
        x = layers.ReLU(6, name=f"{name}_expand_relu6")(_normalized(x, f"{name}_expand"))
    x = layers.DepthwiseConv2D(kernel, stride, "same", use_bias=False, name=f"{name}_depthwise_conv")(x)
    x = layers.ReLU(6, name=f"{name}_depthwise_relu6")(_normalized(x, f"{name}_depthwise"))
    x = _normalized(layers.Conv2D(num_channels, 1, use_bias=False, name=f"{name}_project_conv")(x), f"{name}_project")
    return layers.Add(name=f"{name}_add")([x, before]) if stride == 1 and before.shape[-1] == num_channels else x


def _normalized(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return layers.BatchNormalization(epsilon=1e-3, name=f"{name}_bn")(x)
