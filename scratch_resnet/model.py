"""The article's ResNet-18, as PyTorch modules, and the deeper networks of the same kind.

They differ from torchvision's in two ways: their convolutions keep their bias, and the 1×1 convolution of a shortcut is
not followed by batch normalisation. Names follow torchvision's where both have the part. Source: K. He et al., *Deep
Residual Learning for Image Recognition*, 2015 (arXiv 1512.03385), in the form of *Dive into Deep Learning*.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

NUM_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
"""The blocks of each stage by the network's depth: its layers with weights, those of the shortcuts left out."""
MEANS, DEVIATIONS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of red, green and blue in ImageNet's photographs, in [0, 1], as users of torchvision and fastai have them."""
BOTTLENECKS_FROM = 50  # the depth from which on the blocks are `BottleneckBlock`s


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions whose result is added to the input.

    Shapes: (batch, in_channels, height, width) to (batch, channels, height / stride, width / stride), rounded up.
    """

    expansion = 1  # the channels that come out, for each of `channels`

    def __init__(self, in_channels: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, kernel_size=3, stride=stride, padding=1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = shortcut(in_channels, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Both convolutions, plus the input, through the last ReLU."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + self.shortcut(x))


class BottleneckBlock(nn.Module):
    """A 1×1 convolution to fewer channels, a 3×3 one of these and a 1×1 one to four times as many channels, whose
    result is added to the input. The stride is the second one's, as in torchvision (*ResNet v1.5*), not the first
    one's, as in the paper.

    Shapes: (batch, in_channels, height, width) to (batch, 4 · channels, height / stride, width / stride), rounded up.
    """

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int):
        super().__init__()
        out_channels = self.expansion * channels
        self.conv1 = nn.Conv2d(in_channels, channels, kernel_size=1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, kernel_size=3, stride=stride, padding=1)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, out_channels, kernel_size=1)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.shortcut = shortcut(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """All three convolutions, plus the input, through the last ReLU."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + self.shortcut(x))


def shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """What brings a block's input to the shape of its result: a 1×1 convolution, or nothing where both are alike."""
    if in_channels == out_channels and stride == 1:
        return nn.Identity()
    return nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride)


class ResNet(nn.Module):
    """A residual network; the default is the article's ResNet-18 (11,178,378 parameters).

    Args:
        num_classes: number of logits.
        in_channels: channels of an image.
        depth: a key of `NUM_BLOCKS`.
        channels: of each stage's 3×3 convolutions.
        standardised: whether `MEANS` are first taken from the images, and the rest divided by `DEVIATIONS`.

    Shapes: images float (batch, in_channels, height, width) in [0, 1] to logits float (batch, num_classes).
    """

    means: Tensor
    deviations: Tensor

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 1,
        depth: int = 18,
        channels: Sequence[int] = (64, 128, 256, 512),
        *,
        standardised: bool = False,
    ):
        super().__init__()
        self.standardised = standardised
        for name, numbers in (("means", MEANS), ("deviations", DEVIATIONS)):  # no weights, so not saved with them
            of_channels = torch.tensor(numbers if in_channels == 3 else [sum(numbers) / 3] * in_channels)
            self.register_buffer(name, of_channels[:, None, None], persistent=False)  # (in_channels, 1, 1)
        block = BottleneckBlock if depth >= BOTTLENECKS_FROM else ResidualBlock
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, channels[0], kernel_size=7, stride=2, padding=3),
            nn.BatchNorm2d(channels[0]),
            nn.ReLU(),
            nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
        )
        stages = []
        stage_in = channels[0]
        for index, (width, num_blocks) in enumerate(zip(channels, NUM_BLOCKS[depth], strict=True)):
            # The stem has halved the image twice already: the first stage keeps its size.
            blocks = [block(stage_in, width, stride=1 if index == 0 else 2)]
            stage_in = width * block.expansion
            blocks += [block(stage_in, width, stride=1) for _ in range(num_blocks - 1)]
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.fc = nn.Linear(stage_in, num_classes)

    def maps(self, x: Tensor) -> Tensor:
        """The last feature maps of a batch of images, whose means the linear layer gets."""
        if self.standardised:
            x = (x - self.means) / self.deviations
        return self.stages(self.stem(x))  # (batch, 512 or 2048, height / 32, width / 32), rounded up

    def forward(self, x: Tensor) -> Tensor:
        """The logits of a batch of images."""
        x = self.maps(x)
        with torch.autocast(x.device.type, enabled=False):  # half precision would round logits that are close to a tie
            x = x.float().mean(dim=(2, 3))  # (batch, 512 or 2048): global average pool
            return self.fc(x)


def num_parameters(module: nn.Module) -> int:
    """How many numbers `module` trains."""
    return sum(parameter.numel() for parameter in module.parameters())


def flops_per_image(model: ResNet, image_size: int) -> int:
    """Floating-point operations of one image's forward pass through convolutions and linear layers, two a
    multiply-add, as `torch.utils.flop_counter` counts them."""
    return sum(flops for *_, flops in shape_walk(model, image_size))


def shape_walk(model: ResNet, image_size: int) -> Iterator[tuple[str, tuple[int, ...], int, int]]:
    """Send one image through the network, part by part, as the article does: the four layers before the first stage,
    each stage, and what follows the last.

    Yields:
        Each part's name, the shape it puts out, its parameters and its FLOPs.
    """
    x = torch.rand(1, len(model.means), image_size, image_size, device=model.means.device)
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
