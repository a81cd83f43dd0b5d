"""The branch that trains the article's ResNet-18 from scratch, in PyTorch.

recipe      the hyperparameters, by name
model       the network
small_maps  its convolutions, fast where feature maps are small
batches     the images: shuffled, augmented and resized on the device
hardware    the device, its precision and its memory
several     what several processes do together in one training
loop        a training: its epochs and their steps
train       the command: `python -m scratch_resnet.train`
"""

import compare  # noqa: F401  # first of all, as `compare.start` says
