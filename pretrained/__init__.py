"""The branch that trains a new head on a frozen ImageNet ResNet50, in Keras 3 on TensorFlow, PyTorch or JAX.

recipe   the hyperparameters, by name
weights  the file with the backbone's weights: found or downloaded, verified before it is opened
backend  which of the three Keras runs on, and what it sees of the hardware
model    preprocessing, backbone and head
augment  shear, zoom and flip as one affine map
loop     features of augmented images, and the head trained on them
train    the command: `python -m pretrained.train`
"""
