"""The article's ResNet-18, as PyTorch modules.

It differs from torchvision's `resnet18` in three ways: its convolutions keep their bias, the 1×1 convolution of a
shortcut is not followed by batch normalisation, and it takes one grey channel. Names follow torchvision's where both
have the part. Source: K. He et al., *Deep Residual Learning for Image Recognition*, 2015 (arXiv 1512.03385), in the
form of *Dive into Deep Learning*.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode


class Conv3x3(nn.Conv2d):
    """A 3×3 convolution with a border of one zero, as `nn.Conv2d`, that is fast on small feature maps as well.

    On a 1×1 map eight of the nine products that a filter makes fall on the border, on a 2×2 map five of nine; libraries
    compute them all the same. Here such a map is multiplied by the rest of the filter, as a single matrix.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1):
        super().__init__(in_channels, out_channels, kernel_size=3, stride=stride, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in_channels, height, width) to (batch, out_channels, height / stride, width / stride), rounded up."""
        height, width = x.shape[2:]
        if max(height, width) > 2:
            return super().forward(x)
        rows, columns = (range(0, size, self.stride[0]) for size in (height, width))
        filters = self.weight.permute(0, 2, 3, 1)  # (out_channels, 3, 3, in_channels)
        # with its centre at a row and column, the part of each filter that lies on the map
        parts = [
            filters[:, 1 - row : 1 - row + height, 1 - column : 1 - column + width]
            for row in rows
            for column in columns
        ]
        matrix = torch.cat(parts).flatten(1)  # (rows × columns × out_channels, height × width × in_channels)
        y = F.linear(x.permute(0, 2, 3, 1).flatten(1), matrix)
        y = y.unflatten(1, (len(rows), len(columns), -1)) + self.bias
        return y.permute(0, 3, 1, 2)


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions whose result is added to the input.

    Shapes: (batch, in_channels, height, width) to (batch, out_channels, height / stride, width / stride), rounded up.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.conv1 = Conv3x3(in_channels, out_channels, stride)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = Conv3x3(out_channels, out_channels)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut = nn.Identity()
        if in_channels != out_channels or stride != 1:
            self.shortcut = nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """Both convolutions, plus the input, through the last ReLU."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + self.shortcut(x))


class ResNet(nn.Module):
    """A residual network of two-convolution blocks; the default is the article's ResNet-18 (11,178,378 parameters).

    Args:
        num_classes: number of logits.
        in_channels: channels of an image.
        channels: output channels of each stage.
        num_blocks: blocks of each stage; (3, 4, 6, 3) makes ResNet-34. ResNet-50 and deeper need the paper's
            three-convolution block, which the article does not show.

    Shapes: images float (batch, in_channels, height, width) in [0, 1] to logits float (batch, num_classes).
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 1,
        channels: Sequence[int] = (64, 128, 256, 512),
        num_blocks: Sequence[int] = (2, 2, 2, 2),
    ):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, channels[0], kernel_size=7, stride=2, padding=3),
            nn.BatchNorm2d(channels[0]),
            nn.ReLU(),
            nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
        )
        stages = []
        stage_in = channels[0]
        for index, (stage_out, depth) in enumerate(zip(channels, num_blocks, strict=True)):
            # The stem has halved the image twice already: the first stage keeps its size.
            blocks = [ResidualBlock(stage_in, stage_out, stride=1 if index == 0 else 2)]
            blocks += [ResidualBlock(stage_out, stage_out, stride=1) for _ in range(depth - 1)]
            stages.append(nn.Sequential(*blocks))
            stage_in = stage_out
        self.stages = nn.Sequential(*stages)
        self.fc = nn.Linear(stage_in, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """The logits of a batch of images."""
        x = self.stages(self.stem(x))  # (batch, 512, height / 32, width / 32), rounded up
        with torch.autocast(x.device.type, enabled=False):  # half precision would round logits that are close to a tie
            x = x.float().mean(dim=(2, 3))  # (batch, 512): global average pool
            return self.fc(x)


def num_parameters(module: nn.Module) -> int:
    """How many numbers `module` trains."""
    return sum(parameter.numel() for parameter in module.parameters())


def flops_per_image(model: nn.Module, image_size: int, in_channels: int = 1) -> int:
    """Floating-point operations of one image's forward pass through convolutions and linear layers, two a
    multiply-add, as `torch.utils.flop_counter` counts them."""
    return sum(flops for *_, flops in shape_walk(model, image_size, in_channels))


def shape_walk(model: nn.Module, image_size: int, in_channels: int = 1) -> Iterator[tuple[str, tuple, int, int]]:
    """Send one image through the network, part by part, as the article does: the four layers before the first stage,
    each stage, and what follows the last.

    Yields:
        Each part's name, the shape it puts out, its parameters and its FLOPs.
    """
    device = next(model.parameters()).device
    x = torch.rand(1, in_channels, image_size, image_size, device=device)
    stem = ("7×7 convolution", "batch normalisation", "ReLU", "3×3 max pooling")
    parts = [*zip(stem, model.stem, strict=True)]
    parts += [(f"stage {n}", stage) for n, stage in enumerate(model.stages, start=1)]
    parts += [("global average pool", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())), ("linear", model.fc)]
    was_training = model.training
    model.eval()  # one image has no batch statistics
    with torch.no_grad():
        for name, part in parts:
            with FlopCounterMode(display=False) as counter:
                x = part(x)
            yield name, tuple(x.shape), num_parameters(part), counter.get_total_flops()
    model.train(was_training)
