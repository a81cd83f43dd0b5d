"""Run by `test_pretrained.py` once a backend, in a process of its own: training leaves every array of the backbone as
it was, augmentation is the same as everywhere, and no other framework is in the process."""

import importlib
import sys

import numpy as np
from PIL import Image
from small_recipes import PRETRAINED as SMALL

from compare.data import dataset
from compare.training import crops
from compare.training.progress import Journal
from pretrained import backend
from pretrained.backbones import BACKBONES
from pretrained.recipe import FINE_TUNED
from pretrained.weights import Weights

name = sys.argv[1]
backend.choose(name, "cpu")
with backend.quiet_start():
    import keras

    from pretrained import augment, feature_network, loop, model
    from pretrained.features import extract

assert keras.backend.backend() == name
data = dataset.load("digits")
rows = np.arange(64)
images, labels = data.train_images[rows], data.train_labels[rows]  # (64, 28, 28, 1)
resnet50 = BACKBONES["ResNet50"]
network = feature_network.build_backbone(resnet50, Weights("random"), seed=0, image_size=28)
# Weights that do not depend on the backend, small enough for the activations to stay finite; statistics off 0 and 1.
rng = np.random.default_rng(0)
network.set_weights([rng.uniform(0.5, 1, array.shape) * 0.02 for array in network.get_weights()])
before = [array.copy() for array in network.get_weights()]
at_28 = {"image_shape": (28, 28, 1), "image_size": 28, "preprocessing": "imagenet"}
extractor = feature_network.build_feature_extractor(network, resnet50, **at_28)
head = model.build_head(2048, 10, normalize_features=True, learning_rate=0.01)
head_before = head.get_weights()

with Journal().epoch("", len(images)) as bar:
    sums = np.zeros(3)
    for _ in loop.train_epoch(
        head, images, labels, rows, sums, feature_extractor=extractor, recipe=SMALL, seed=0, epoch=1, bar=bar
    ):
        pass
assert sums[0] == len(images) and np.isfinite(sums[1]) and 0 <= sums[2] <= len(images)
assert not np.array_equal(head.get_weights()[-2], head_before[-2]), "the head learned nothing"
after = network.get_weights()
assert len(after) == 318 and all(np.array_equal(a, b) for a, b in zip(after, before, strict=True)), "not frozen"

# With weights of the classes the loss of a batch is PyTorch's, by its formula; the metric beside it has none of them.
weights, smoothing = np.linspace(0, 3, 10).astype(np.float32), 0.1
probabilities = rng.dirichlet(np.ones(10), 32).astype(np.float32)
some = rng.integers(1, 10, 32)  # none of class 0, which weighs nothing
nats = -np.log(probabilities)
by_hand = (1 - smoothing) * weights[some] * nats[np.arange(32), some] + smoothing * (nats * weights).mean(axis=1)
loss = model.WeightedCrossentropy(weights, smoothing)(some, keras.ops.convert_to_tensor(probabilities))
mean = by_hand.sum() / weights[some].sum()
np.testing.assert_allclose(keras.ops.convert_to_numpy(loss).mean(), mean, rtol=1e-5)
weighted = model.build_head(4, 10, normalize_features=False, learning_rate=0.01, class_weights=weights)
some_features, before_it = rng.normal(0, 1, (32, 4)).astype(np.float32), weighted.get_weights()
nats = -np.log(weighted.predict(some_features, verbose=0))[np.arange(32), some]
told = weighted.fit(some_features, some, batch_size=32, verbose=0).history
np.testing.assert_allclose(told["loss"], np.average(nats, weights=weights[some]), rtol=1e-5)
np.testing.assert_allclose(told["crossentropy"], nats.mean(), rtol=1e-5)
assert not np.array_equal(weighted.get_weights()[0], before_it[0])

# Plain `fit` on the whole network leaves it frozen as well, statistics of batch normalisation included.
whole = model.join(extractor, head)
whole.compile(keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy")
whole.fit(images[:32].astype(np.float32), labels[:32], batch_size=16, verbose=0)
assert all(np.array_equal(a, b) for a, b in zip(network.get_weights(), before, strict=True)), "not frozen under fit"

# Fine-tuned under `fit`, the last stage learns and nothing else does; and its optimizer can be put back.
model.unfreeze(network, "last-stage")
kept = model.frozen_fingerprint(network, "last-stage")
tuned = model.build_whole(extractor, head, recipe=FINE_TUNED, num_steps=2)
tuned.fit(images[:32].astype(np.float32), labels[:32], batch_size=16, verbose=0)
assert model.frozen_fingerprint(network, "last-stage") == kept, "not frozen in fine-tuning"
assert not np.array_equal(network.get_layer("conv5_block3_3_conv").get_weights()[0], before[-6]), "it learned nothing"
arrays = loop.checkpoint_arrays(tuned)
loop.restore(tuned, arrays)
assert all(np.array_equal(array, arrays[name]) for name, array in loop.checkpoint_arrays(tuned).items())

# In bfloat16 the features are float32 and nearly the same.
network.set_weights(before)
half = feature_network.build_backbone(resnet50, Weights("random"), seed=0, image_size=28, precision="bfloat16")
half.set_weights(before)
rough = extract(feature_network.build_feature_extractor(half, resnet50, **at_28), images, recipe=SMALL)
exact = extract(extractor, images, recipe=SMALL)
assert rough.dtype == np.float32 and not np.array_equal(rough, exact)
np.testing.assert_allclose(rough, exact, rtol=0.1, atol=0.02 * np.abs(exact).max())

# A part of a photograph by Pillow, mirrored, at half its brightness.
photograph = np.random.default_rng(1).integers(0, 256, (40, 50, 3), np.uint8)
drawn = np.array([((5, 8, 30, 36), True, (0.5, 1, 1))], crops.DRAWN)
by_hand = Image.fromarray(photograph).crop((8, 5, 44, 35)).resize((20, 20), Image.Resampling.BILINEAR)
shown = augment.cropped(photograph[np.newaxis], drawn, 20)
assert np.abs(shown[0] - np.asarray(by_hand)[:, ::-1] / 2).max() < 0.6  # Pillow rounds twice

# The same maps by hand on one image: x zoomed by 2 about the centre, without shear, then mirrored.
maps = augment.affine_maps(np.zeros(1), np.full(1, 2.0), np.ones(1), np.ones(1, bool), height=28, width=28)
x = np.clip(13.5 - 2 * (np.arange(28) - 13.5), 0, 27)
low = np.floor(x).astype(int)
high, share = np.minimum(low + 1, 27), x - np.floor(x)
image = images[0, ..., 0].astype(np.float32)
expected = image[:, low] * (1 - share) + image[:, high] * share
np.testing.assert_allclose(augment.apply(images[:1], maps)[0, ..., 0], expected, atol=0.02)

# Another network on images of other shapes: one of each kind of preprocessing, or those that it is asked for.
for other in map(BACKBONES.get, sys.argv[2:]):
    if name in other.lacking_on:
        continue
    size = max(48, other.smallest_side)
    network = feature_network.build_backbone(other, Weights("random"), seed=0, image_size=size)
    more = {"image_size": size, "preprocessing": "imagenet"}
    extractor = feature_network.build_feature_extractor(network, other, image_shape=(40, 56, 3), **more)
    some = rng.integers(0, 256, (4, 40, 56, 3), np.uint8)
    features = extract(extractor, some, recipe=SMALL)
    build = getattr(keras.applications, other.name)
    theirs = build(include_top=False, weights=None, pooling="avg", input_shape=(size, size, 3))
    for ours, his in zip(
        feature_network.layers_with_arrays(network), feature_network.layers_with_arrays(theirs), strict=True
    ):
        his.set_weights(ours.get_weights())
    resize = keras.layers.Resizing(size, size, pad_to_aspect_ratio=True, antialias=56 > size)
    entered = keras.ops.convert_to_numpy(resize(some.astype(np.float32)))
    entered = importlib.import_module(other.module).preprocess_input(entered.copy())
    np.testing.assert_allclose(features, theirs.predict(entered, verbose=0), rtol=1e-3, atol=1e-4, err_msg=other.name)
    stage, everything = (model.unfrozen_layers(network, part) for part in ("last-stage", "backbone"))
    assert 0 < len(stage) < len(everything), other.name

frameworks = {"torch", "tensorflow"} & set(sys.modules)
assert frameworks <= {name}, f"{frameworks} share the process"
print("as expected")
