"""Run by `test_pretrained.py` once a backend, in a process of its own: training leaves every array of the backbone as
it was, augmentation is the same as everywhere, and no other framework is in the process."""

import sys

import numpy as np

from compare.data import dataset
from compare.training.progress import Journal
from pretrained import backend
from pretrained.recipe import DEMO
from pretrained.weights import Weights

name = sys.argv[1]
backend.choose(name, "cpu")
with backend.quiet_start():
    import keras

    from pretrained import augment, loop, model

assert keras.backend.backend() == name
data = dataset.load("digits")
images, labels = data.train_images[:64], data.train_labels[:64]
network = model.build_backbone(Weights("random"), seed=0)
# Weights that do not depend on the backend, small enough for the activations to stay finite; statistics off 0 and 1.
rng = np.random.default_rng(0)
network.set_weights([rng.uniform(0.5, 1, array.shape) * 0.02 for array in network.get_weights()])
before = [array.copy() for array in network.get_weights()]
extractor = model.build_feature_extractor(network, image_size=28, preprocessing="imagenet")
head = model.build_head(10, normalize_features=True, learning_rate=0.01)
head_before = head.get_weights()

with Journal().epoch("", len(images)) as bar:
    sums = np.zeros(3)
    for _ in loop.train_epoch(
        head, images, labels, sums, feature_extractor=extractor, recipe=DEMO, seed=0, epoch=1, bar=bar
    ):
        pass
assert sums[0] == len(images) and np.isfinite(sums[1]) and 0 <= sums[2] <= len(images)
assert not np.array_equal(head.get_weights()[-2], head_before[-2]), "the head learned nothing"
after = network.get_weights()
assert len(after) == 318 and all(np.array_equal(a, b) for a, b in zip(after, before, strict=True)), "not frozen"

# Plain `fit` on the whole network leaves it frozen as well, statistics of batch normalisation included.
whole = model.join(extractor, head)
whole.compile(keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy")
whole.fit(images[:32, ..., np.newaxis].astype(np.float32), labels[:32], batch_size=16, verbose=0)
assert all(np.array_equal(a, b) for a, b in zip(network.get_weights(), before, strict=True)), "not frozen under fit"

# Fine-tuned under `fit`, the last stage learns and nothing else does; and its optimizer can be put back.
model.unfreeze(network, "last-stage")
kept = model.frozen_fingerprint(network, "last-stage")
tuned = model.build_whole(extractor, head, learning_rate=0.01)
tuned.fit(images[:32, ..., np.newaxis].astype(np.float32), labels[:32], batch_size=16, verbose=0)
assert model.frozen_fingerprint(network, "last-stage") == kept, "not frozen in fine-tuning"
assert not np.array_equal(network.get_layer("conv5_block3_3_conv").get_weights()[0], before[-6]), "it learned nothing"
arrays = loop.checkpoint_arrays(tuned)
loop.restore(tuned, arrays)
assert all(np.array_equal(array, arrays[name]) for name, array in loop.checkpoint_arrays(tuned).items())

# In bfloat16 the features are float32 and nearly the same.
network.set_weights(before)
half = model.build_backbone(Weights("random"), seed=0, precision="bfloat16")
half.set_weights(before)
rough = loop.extract(model.build_feature_extractor(half, image_size=28, preprocessing="imagenet"), images)
exact = loop.extract(extractor, images)
assert rough.dtype == np.float32 and not np.array_equal(rough, exact)
np.testing.assert_allclose(rough, exact, rtol=0.1, atol=0.02 * np.abs(exact).max())

# The same maps by hand on one image: x zoomed by 2 about the centre, without shear, then mirrored.
maps = augment.affine_maps(np.zeros(1), np.full(1, 2.0), np.ones(1), np.ones(1, bool), 28)
x = np.clip(13.5 - 2 * (np.arange(28) - 13.5), 0, 27)
low = np.floor(x).astype(int)
high, share = np.minimum(low + 1, 27), x - np.floor(x)
image = images[0].astype(np.float32)
expected = image[:, low] * (1 - share) + image[:, high] * share
np.testing.assert_allclose(augment.apply(images[:1], maps)[0, ..., 0], expected, atol=0.02)

frameworks = {"torch", "tensorflow"} & set(sys.modules)
assert frameworks <= {name}, f"{frameworks} share the process"
print("as expected")
