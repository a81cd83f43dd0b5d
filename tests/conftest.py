"""Every test runs without a network, without the user's caches and with Keras on PyTorch.

TensorFlow and PyTorch must not share a process; what needs TensorFlow or JAX is tested in processes of its own.
"""

import os

os.environ["KERAS_BACKEND"] = "torch"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
