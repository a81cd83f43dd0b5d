"""The branch that trains the article's ResNet-18 from scratch, in PyTorch.

recipe   the hyperparameters, by name
model    the network
batches  the data set on the device: shuffled, augmented and resized there
loop     an epoch of training, and what it needs of PyTorch
train    the command: `python -m scratch_resnet.train`
"""

import compare  # noqa: F401  # first of all, as `compare.start` says
