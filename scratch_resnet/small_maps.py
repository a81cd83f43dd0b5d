"""3×3 convolutions of feature maps of 1×1 or 2×2 pixels, several times as fast as the library's, with the same result.

On a 1×1 map eight of the nine products that a filter makes fall on the border, on a 2×2 map five of nine; libraries
compute them all the same. Here such a map is multiplied by the rest of the filter, as a single matrix.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scratch_resnet.model import ResNet


class Conv3x3(nn.Conv2d):
    """`nn.Conv2d` with 3×3 filters and a border of one zero, that is fast on small feature maps as well."""

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


def fast_on_small_maps(model: ResNet) -> ResNet:
    """The same network, whose 3×3 convolutions (with a border of one zero, and a bias) compute as `Conv3x3`."""
    for module in model.modules():
        if type(module) is nn.Conv2d and module.kernel_size == (3, 3):
            module.__class__ = Conv3x3  # its parameters stay where they are: the class says only how to multiply
    return model
