"""The pretrained branch. Truths: `keras.applications`, the legacy generator, plain `fit`, PyTorch's FLOP counter.

Here Keras runs on PyTorch; `check_backend.py` is run in a process of its own for every backend that is installed.
"""

import dataclasses
import importlib.util
import os
import subprocess
import sys
import types
from pathlib import Path

import keras
import numpy as np
import pytest
import scipy.ndimage
import torch
from keras.src.legacy.preprocessing import image as legacy
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from small_recipes import PRETRAINED as SMALL
from torch.utils.flop_counter import FlopCounterMode

from compare.data import dataset
from compare.data.images import balanced_weights
from compare.system.errors import UserError
from compare.training.options import KERAS_BACKENDS, WEIGHTS_WORDS
from compare.training.progress import Journal
from pretrained import augment, feature_network, features, loop, model, solver
from pretrained.backbones import BACKBONES
from pretrained.features import augmented, extract, first_of, keep_pass
from pretrained.recipe import ARTICLE, FINE_TUNED, RECIPES, TUNED
from pretrained.weights import Weights

HERE = Path(__file__).parent
TUNING = dataclasses.replace(FINE_TUNED, unfrozen_learning_rate=1e-3)
RESNET50 = BACKBONES["ResNet50"]


def build(name="ResNet50", *, image_size=28, precision="float32"):
    return feature_network.build_backbone(
        BACKBONES[name], Weights("random"), seed=0, image_size=image_size, precision=precision
    )


def extractor_of(network, *, image_size, preprocessing="imagenet", image_shape=(28, 28, 1), name="ResNet50"):
    return feature_network.build_feature_extractor(
        network, BACKBONES[name], image_shape=image_shape, image_size=image_size, preprocessing=preprocessing
    )


@pytest.fixture(scope="module")
def backbone():
    return build()


@pytest.fixture(scope="module")
def digits():
    return dataset.load("digits")


def new_head(recipe=SMALL):
    keras.utils.set_random_seed(0)
    return model.build_head(2048, 10, normalize_features=recipe.normalize_features, learning_rate=recipe.learning_rate)


def train_one_epoch(extractor, head, images, labels, *, epoch, recipe=SMALL):
    sums = np.zeros(3)
    with Journal().epoch("", len(images)) as bar:
        for _ in loop.train_epoch(
            *(head, images, labels, np.arange(len(images)), sums),
            feature_extractor=extractor,
            recipe=recipe,
            seed=0,
            epoch=epoch,
            bar=bar,
        ):
            pass
    return sums[1] / sums[0], sums[2] / sums[0]


# ---- augmentation


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(
    ("shear", "zoom_x", "zoom_y"), [(0.0, 1.2, 0.9), (0.2, 0.8, 1.1), (25.0, 1.0, 1.0), (-9, 0.83, 1.17)]
)
def test_maps_are_the_legacy_generators(digits, monkeypatch, shear, zoom_x, zoom_y, flip):
    # SciPy took away the name that the legacy generator calls this function by.
    monkeypatch.setattr(scipy.ndimage, "interpolation", scipy.ndimage, raising=False)
    image = digits.train_images[7]
    theirs = legacy.apply_affine_transform(
        image.astype(np.float32),
        shear=shear,
        zx=zoom_x,
        zy=zoom_y,
        row_axis=0,
        col_axis=1,
        channel_axis=2,
    )
    if flip:
        theirs = legacy.flip_axis(theirs, 1)
    one = [np.array([value]) for value in (np.deg2rad(shear), zoom_x, zoom_y)]
    ours = augment.apply(image[np.newaxis], augment.affine_maps(*one, np.array([flip]), height=28, width=28))[0]
    assert ours.shape == (28, 28, 1) and ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, atol=0.02)  # of 255 grey levels


def test_maps_of_oblong_images_in_colour_turn_about_their_centre():
    """By SciPy at places worked out by hand. Keras 2's generator takes the height for the width there."""
    image = np.random.default_rng(0).integers(0, 256, (20, 33, 3), np.uint8)
    y, x = np.mgrid[0:20, 0:33].astype(float)
    x, y, angle = 32 - x - 16, y - 9.5, np.deg2rad(12.0)  # mirrored, from the centre
    places = [9.5 + np.cos(angle) * 1.1 * y, 16 + 0.8 * x - np.sin(angle) * 1.1 * y]
    channels = np.moveaxis(image.astype(float), 2, 0)
    theirs = [scipy.ndimage.map_coordinates(channel, places, order=1, mode="nearest") for channel in channels]
    one = [np.array([value]) for value in (angle, 0.8, 1.1)]
    ours = augment.apply(image[np.newaxis], augment.affine_maps(*one, np.array([True]), height=20, width=33))[0]
    np.testing.assert_allclose(ours, np.stack(theirs, axis=2), atol=0.02)


def test_draws_fill_the_articles_ranges():
    maps = augment.draw(20_000, np.random.default_rng(0), ARTICLE, height=28, width=28)
    zoom_x, zoom_y = np.abs(maps[:, 0]), maps[:, 4]  # the cosine of 0.2° is 1 to five places
    assert 0.8 <= zoom_x.min() < 0.801 and 1.199 < zoom_x.max() <= 1.2
    assert 0.799 <= zoom_y.min() < 0.801 and 1.199 < zoom_y.max() <= 1.2
    assert abs(np.corrcoef(zoom_x, zoom_y)[0, 1]) < 0.03  # each axis has a draw of its own
    angle = np.rad2deg(np.arcsin(-maps[:, 1] / zoom_y))
    assert 0.19 < np.abs(angle).max() <= 0.2001
    assert 0.48 < (maps[:, 0] < 0).mean() < 0.52  # half of them mirrored
    assert not (augment.draw(100, np.random.default_rng(0), SMALL, height=28, width=28)[:, 0] < 0).any()


def test_no_change_is_no_change(digits):
    nothing = augment.affine_maps(np.zeros(3), np.ones(3), np.ones(3), np.zeros(3, bool), height=28, width=28)
    np.testing.assert_allclose(augment.apply(digits.test_images[:3], nothing), digits.test_images[:3], atol=1e-4)


@pytest.mark.parametrize("recipe", [SMALL, TUNED])
def test_the_first_images_are_kept_as_the_epoch_draws_them(digits, recipe):
    images = digits.train_images[:100]
    first = first_of(5, images, np.arange(100), recipe=recipe, seed=1, epoch=1)
    if recipe is SMALL:
        drawn = list(augmented(images, np.arange(100), recipe=recipe, seed=1, epoch=1))
        rows, all_images = np.concatenate([rows for rows, _ in drawn]), np.concatenate([some for _, some in drawn])
        all_images = all_images[rows.argsort()]
    else:  # the features of kept passes are in the images' own order
        all_images = augment.apply(
            images, augment.draw(100, np.random.default_rng([1, 1]), recipe, height=28, width=28)
        )
    np.testing.assert_allclose(first, all_images[:5], atol=1e-3)
    assert first.shape == (5, 28, 28, 1) and np.abs(first - images[:5]).max() > 20


# ---- the network


@pytest.mark.parametrize(
    ("preprocessing", "expected"),
    # blue, green and red of ImageNet's mean, as the Caffe models have them
    [("unit", np.array([1, 1, 1])), ("imagenet", np.array([255 - 103.939, 255 - 116.779, 255 - 123.68]))],
)
def test_white_enters_the_backbone_as_the_preprocessing_says(preprocessing, expected):
    white = np.full((2, 28, 28, 1), 255, np.float32)
    entered = feature_network.network_input(white, image_size=40, preprocessing=preprocessing, backbone=RESNET50)
    entered = keras.ops.convert_to_numpy(entered)
    assert entered.shape == (2, 40, 40, 3)
    np.testing.assert_allclose(entered, np.broadcast_to(expected, entered.shape), rtol=1e-5)


@pytest.mark.parametrize(("preprocessing", "image_size"), [("unit", 28), ("imagenet", 28), ("imagenet", 40)])
def test_features_are_keras_applications_on_three_channels(backbone, digits, preprocessing, image_size):
    extractor = extractor_of(backbone, image_size=image_size, preprocessing=preprocessing)
    images = np.repeat(digits.test_images[:4].astype(np.float32), 3, axis=-1)
    images = keras.ops.convert_to_numpy(keras.ops.image.resize(images, (image_size, image_size)))
    if preprocessing == "unit":
        images = images / 255
    else:
        images = keras.applications.resnet50.preprocess_input(images.copy())
    theirs = keras.applications.ResNet50(include_top=False, weights=None)
    theirs.set_weights(backbone.get_weights())
    expected = theirs.predict(images, verbose=0).mean(axis=(1, 2))
    np.testing.assert_allclose(extract(extractor, digits.test_images[:4], recipe=SMALL), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(30, 60), (60, 30), (25, 25)])
def test_oblong_images_keep_their_proportions_on_black(height, width):
    """The longer side becomes the size; Pillow's resizing is the truth for what stands in the middle."""
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    entered = feature_network.network_input(
        image[np.newaxis].astype(np.float32),
        image_size=40,
        preprocessing="imagenet",
        backbone=BACKBONES["ConvNeXtTiny"],
    )
    (entered,) = keras.ops.convert_to_numpy(entered)
    assert entered.shape == (40, 40, 3)
    inner_height, inner_width = 40 * height // max(height, width), 40 * width // max(height, width)
    top, left = (40 - inner_height) // 2, (40 - inner_width) // 2
    inner = entered[top : top + inner_height, left : left + inner_width]
    theirs = np.asarray(Image.fromarray(image).resize((inner_width, inner_height), Image.Resampling.BILINEAR))
    assert np.abs(inner[1:-1, 1:-1] - theirs[1:-1, 1:-1]).max() <= 1  # of 255; Pillow rounds
    outside = np.ones((40, 40), bool)
    outside[max(top - 1, 0) : top + inner_height + 1, max(left - 1, 0) : left + inner_width + 1] = False
    assert not entered[outside].any()


def test_preprocessing_leaves_the_images_as_they_are():
    for name, backbone in BACKBONES.items():
        images = np.full((1, 2, 2, 3), 200, np.float32)
        with_keras = keras.ops.convert_to_numpy(
            feature_network.preprocess(keras.ops.convert_to_tensor(images), backbone)
        )
        np.testing.assert_allclose(feature_network.preprocess(images, backbone), with_keras, rtol=1e-5, err_msg=name)
        assert (images == 200).all(), name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ResNet50", ("BGR", [-103.939, -116.779, -123.68], [151.061, 138.221, 131.32])),
        ("MobileNetV2", ("RGB", [-1, -1, -1], [1, 1, 1])),
        ("DenseNet121", ("RGB", [-2.1179, -2.0357, -1.8044], [2.2489, 2.4286, 2.64])),  # (0 and 1 - mean) / deviation
        ("EfficientNetV2B0", ("RGB", [0, 0, 0], [255, 255, 255])),
    ],
)
def test_what_imagenet_weights_expect(name, expected):
    said = feature_network.expects(BACKBONES[name], Weights("imagenet"))
    assert (said.channels, said.lowest, said.highest) == expected
    assert feature_network.expects(BACKBONES[name], Weights("random")) is None


def test_features_are_made_of_parts_of_a_file_of_images(tmp_path, monkeypatch):
    """A training set in colour that lies in a file is read some rows at a time."""
    monkeypatch.setattr(features, "PREDICTION_BATCH_SIZE", 4)
    monkeypatch.setattr(features, "VALUES_AT_ONCE", 8 * 20 * 30 * 3)
    images = np.random.default_rng(0).integers(0, 256, (30, 20, 30, 3), np.uint8)
    np.save(tmp_path / "images.npy", images)
    mapped, rows = np.load(tmp_path / "images.npy", mmap_mode="r"), np.arange(1, 28, 2)
    read, take = [], features.take
    monkeypatch.setattr(features, "take", lambda images, rows: read.append(len(rows)) or take(images, rows))
    network = build("MobileNet", image_size=32)
    extractor = extractor_of(network, image_size=32, image_shape=(20, 30, 3), name="MobileNet")
    recipe = dataclasses.replace(TUNED, image_size=32, horizontal_flip=False, zoom_range=0.0, batch_size=4)
    found = extract(extractor, mapped, rows, recipe=recipe)
    assert found.shape == (14, 1024) and read == [8, 6]
    whole = extractor.predict(images[rows].astype(np.float32), verbose=0)
    np.testing.assert_allclose(found, whole, rtol=1e-3, atol=1e-5)
    kept = solver.KeptFeatures(tmp_path, solver.Scale(np.zeros(1024, np.float32), np.ones(1024, np.float32)), rows)
    with Journal().epoch("", 14) as bar:
        keep_pass(extractor, kept, mapped, rows, cache=None, recipe=recipe, seed=0, epoch=1, bar=bar)
    np.testing.assert_allclose(kept_of(kept, 1, 14, 1024), whole, rtol=1e-2, atol=1e-3)
    parts = list(augmented(mapped, rows, recipe=recipe, seed=0, epoch=1))
    assert [len(part) for part, _ in parts] == [8, 6]
    for part, some in parts:
        np.testing.assert_allclose(some, images[rows[part]], atol=1e-2)


def test_size_of_the_network(backbone):
    # Keras' documentation gives ResNet50 without its top 23,587,712 parameters.
    assert model.num_parameters(backbone.weights) == 23_587_712
    assert backbone.trainable_variables == []
    assert model.num_parameters(new_head(ARTICLE).weights) == 2048 * 10 + 10


@pytest.mark.parametrize("image_size", [28, 96])
def test_flops_are_those_that_pytorch_counts(backbone, image_size):
    check_flops(backbone, image_size)


@pytest.mark.parametrize(
    "name",
    [
        "MobileNetV3Small",
        "ConvNeXtTiny",
        *(
            pytest.param(name, marks=pytest.mark.thorough)
            for name, one in BACKBONES.items()
            if "torch" not in one.lacking_on
        ),
    ],
)
def test_flops_of_other_networks_are_those_that_pytorch_counts(name):
    """Depthwise and separable convolutions, and linear layers on maps."""
    size = max(64, BACKBONES[name].smallest_side)
    check_flops(build(name, image_size=size), size)


def check_flops(network, image_size):
    with FlopCounterMode(display=False) as counter:
        network(np.zeros((1, image_size, image_size, 3), np.float32))
    num_features = network.output_shape[1]
    assert model.flops_per_image(network, 10, image_size) == counter.get_total_flops() + 2 * num_features * 10


@pytest.mark.parametrize(
    ("name", "first", "num_layers"),
    [
        ("ResNet50", "conv5_block1_1_conv", 10),
        ("VGG16", "block5_conv1", 3),
        ("MobileNet", "conv_dw_12", 4),
        ("DenseNet121", "conv5_block1_1_conv", 32),
        ("EfficientNetB0", "block6a_dwconv", 25),
        ("ConvNeXtTiny", "convnext_tiny_downsampling_block_2", 17),
    ],
)
def test_the_last_stage_is_what_the_names_of_its_layers_say(name, first, num_layers):
    """By Keras' own names: conv5; block5; the 7×7 maps of MobileNet's table; dense block 4; blocks 6 and 7 and the top;
    the last of four stages."""
    network = build(name)
    layers = model.unfrozen_layers(network, "last-stage")
    assert layers[0].name == first and len(layers) == num_layers
    assert set(layers) < set(model.unfrozen_layers(network, "backbone"))


@pytest.mark.parametrize(
    ("field", "value"),
    [("preprocessing", "imagnet"), ("solver", "lbgfs"), ("unfreeze", "last_stage"), ("precision", "bf16")],
)
def test_a_mode_that_there_is_not_is_refused(field, value):
    with pytest.raises(ValueError, match=f"{field} is '{value}', not one of "):
        dataclasses.replace(TUNED, **{field: value})


def test_recipes_name_a_backbone_and_weights_that_there_are():
    for recipe in RECIPES.values():
        assert recipe.backbone in BACKBONES and recipe.weights in WEIGHTS_WORDS


# ---- training


def test_one_cycle_goes_up_and_down_as_pytorchs(digits):
    """Step for step through Keras' optimizer, whose count of steps is in a checkpoint."""
    parameter = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([parameter])
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.003, total_steps=1001, final_div_factor=1e9)
    ours = model.OneCycle(0.003, 1000)
    expected = []
    for _ in range(1000):
        expected.append(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()
    # theirs is highest at 0.3 · 1001 - 1 steps
    np.testing.assert_allclose([float(ours(step)) for step in range(1000)], expected, atol=2e-5)
    assert float(ours(300)) == pytest.approx(0.003) and float(ours(1000)) == pytest.approx(0, abs=1e-9)


def test_fine_tuning_smooths_labels_as_pytorch_does_and_tells_the_plain_loss(backbone, digits):
    extractor = extractor_of(backbone, image_size=28)
    head = new_head(ARTICLE)
    head.set_weights([array / 1000 for array in head.get_weights()])  # no probability near 0, where Keras cuts it
    whole = model.build_whole(extractor, head, recipe=TUNING, num_steps=2)
    images, labels = digits.train_images[:20].astype(np.float32), digits.train_labels[:20]
    logits = torch.log(torch.from_numpy(whole.predict(images, verbose=0)))  # of probabilities that add up to 1
    told = whole.evaluate(images, labels, batch_size=20, verbose=0, return_dict=True)
    for name, smoothing in (("loss", 0.1), ("crossentropy", 0.0)):
        target = torch.from_numpy(labels.astype(np.int64))
        expected = torch.nn.functional.cross_entropy(logits, target, label_smoothing=smoothing)
        assert told[name] == pytest.approx(expected.item(), rel=1e-4)


def test_in_parts_it_is_what_fit_makes_of_the_whole(backbone, digits, monkeypatch):
    """Backbone in batches of 256 and head in batches of 32 end with the head of plain `fit` on the joined network."""
    monkeypatch.setattr(features, "IMAGES_AT_ONCE", 64)
    recipe = dataclasses.replace(SMALL, image_size=28, normalize_features=False, learning_rate=1e-4)
    extractor = extractor_of(backbone, image_size=28, preprocessing=recipe.preprocessing)
    images, labels = digits.train_images[:150], digits.train_labels[:150]
    head = new_head(recipe)
    loss, accuracy = train_one_epoch(extractor, head, images, labels, epoch=1, recipe=recipe)

    plain_head = new_head(recipe)
    whole = model.join(extractor, plain_head)
    whole.compile(keras.optimizers.SGD(1e-4), "sparse_categorical_crossentropy", metrics=["accuracy"])
    rng = np.random.default_rng([0, 1])
    order = rng.permutation(150)
    augmented = augment.apply(images[order], augment.draw(150, rng, recipe, height=28, width=28))
    history = whole.fit(augmented, labels[order], batch_size=32, shuffle=False, verbose=0).history
    assert loss == pytest.approx(history["loss"][0], rel=1e-3)
    assert accuracy == pytest.approx(history["accuracy"][0], abs=1e-6)
    for ours, theirs in zip(head.get_weights(), plain_head.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-2, atol=1e-5)
    assert not np.array_equal(head.get_weights()[0], new_head(recipe).get_weights()[0])


def kept_of(kept, number, num_images, num_features):
    """What the files of a pass hold, float32 (num_images, num_features), without their hashes."""
    content = b"".join(kept.path(number, rows.start).read_bytes()[:-32] for rows in kept.rows())
    return np.frombuffer(content, np.float32).reshape(num_images, num_features)


def test_kept_features_are_those_of_the_augmented_images(backbone, digits, tmp_path, monkeypatch):
    monkeypatch.setattr(solver, "IMAGES_IN_FILE", 32)
    extractor = extractor_of(backbone, image_size=28, preprocessing="imagenet")
    images, labels = digits.train_images[:80], digits.train_labels[:80]
    plain = extract(extractor, images, recipe=TUNED)
    scale = solver.Scale.of(plain)
    kept = solver.KeptFeatures(tmp_path, scale, labels)
    with Journal().epoch("", 80) as bar:
        keep_pass(extractor, kept, images, np.arange(80), cache=None, recipe=TUNED, seed=3, epoch=2, bar=bar)
    maps = augment.draw(80, np.random.default_rng([3, 2]), TUNED, height=28, width=28)
    expected = extract(extractor, augment.apply(images, maps), recipe=TUNED)
    again = kept_of(kept, 2, 80, 2048)
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert sum(sizes) == 80 * 2048 * 4 + 3 * 32  # what the disk is reckoned by, and three hashes
    np.testing.assert_allclose(again * scale.deviation + scale.mean, expected, rtol=2e-3, atol=2e-3)
    assert not np.allclose(expected, plain, atol=0.05)  # they were augmented

    # A run that goes on makes anew what is missing, cut short or not as it was written, and nothing else.
    before = {path: path.read_bytes() for path in sorted(tmp_path.glob("features-*"))}
    assert kept.missing(2) == []
    for path, content in zip(before, (None, b"\1" + before[kept.path(2, 32)][1:], b""), strict=True):
        path.unlink() if content is None else path.write_bytes(content)
        again = solver.KeptFeatures(tmp_path, scale, labels)
        assert [again.path(2, rows.start) for rows in again.missing(2)] == [path]
        with Journal().epoch("", 80) as bar:
            keep_pass(extractor, again, images, np.arange(80), cache=None, recipe=TUNED, seed=3, epoch=2, bar=bar)
        assert {path: path.read_bytes() for path in before} == before
    solver.remove_kept(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("penalty", [1e-1, 1e-3])
def test_the_optimum_is_scikit_learns(tmp_path, monkeypatch, penalty):
    """On two passes, files and all, the head is LogisticRegression's with C = 1 / (penalty · images)."""
    monkeypatch.setattr(solver, "TOLERANCE", 1e-9)
    rng = np.random.default_rng(0)
    features = rng.normal(3, rng.uniform(0.01, 5, 12), (2, 300, 12)).astype(np.float32)
    labels = (features[0] @ rng.normal(0, 1, (12, 4)) + rng.gumbel(0, 2, (300, 4))).argmax(axis=1).astype(np.uint8)
    features[:, :, 5] = 0.1  # one that never changes, and whose mean float32 does not hit
    scale = solver.Scale.of(features[0])
    kept = solver.KeptFeatures(tmp_path, scale, labels)
    for number in (1, 2):
        kept.keep(number, 0, features[number - 1])
    solution, loss, accuracy = solver.solve(kept, 2, 4, penalty, along=solver.directions(kept))

    both = np.concatenate([kept_of(kept, number, 300, 12) for number in (1, 2)]).astype(np.float64)
    theirs = LogisticRegression(C=1 / (penalty * 600), tol=1e-8, max_iter=10_000).fit(both, np.tile(labels, 2))
    # the offset is only known up to a constant: softmax does not see it
    np.testing.assert_allclose(solution[:-1].T, theirs.coef_, atol=1e-2)
    np.testing.assert_allclose(
        solution[-1] - solution[-1].mean(), theirs.intercept_ - theirs.intercept_.mean(), atol=1e-2
    )
    assert loss == pytest.approx(log_loss(np.tile(labels, 2), theirs.predict_proba(both)), rel=1e-3)
    assert accuracy == pytest.approx(theirs.score(both, np.tile(labels, 2)), abs=0.005)

    weights, offset = scale.on_features(solution)
    logits = features[1] @ weights + offset
    np.testing.assert_allclose(logits, both[300:] @ solution[:-1] + solution[-1], atol=0.02)


def test_with_weights_of_the_classes_the_optimum_is_scikit_learns(tmp_path, monkeypatch):
    monkeypatch.setattr(solver, "TOLERANCE", 1e-9)
    rng = np.random.default_rng(0)
    features, labels = rng.normal(0, 1, (400, 6)).astype(np.float32), np.repeat([0, 1, 2], [330, 60, 10])
    features += 0.7 * labels[:, np.newaxis]
    kept = solver.KeptFeatures(tmp_path, solver.Scale.of(features), labels)
    kept.keep(1, 0, features)
    given = {"along": solver.directions(kept), "class_weights": balanced_weights(labels, 4)}  # and a class without any
    solution, loss, accuracy = solver.solve(kept, 1, 4, 1e-2, **given)
    scaled = kept_of(kept, 1, 400, 6).astype(np.float64)
    theirs = LogisticRegression(C=1 / (1e-2 * 400), tol=1e-8, max_iter=10_000, class_weight="balanced")
    theirs.fit(scaled, labels)
    np.testing.assert_allclose(solution[:-1, :3].T, theirs.coef_, atol=1e-2)
    np.testing.assert_allclose(solution[:-1, 3], 0, atol=1e-3)
    assert loss == pytest.approx(log_loss(labels, theirs.predict_proba(scaled)), rel=2e-3)  # itself without weights
    assert accuracy == pytest.approx(theirs.score(scaled, labels), abs=0.005)
    plain, *_ = solver.solve(kept, 1, 4, 1e-2, along=given["along"])
    assert not np.allclose(plain[:-1, :3], solution[:-1, :3], atol=0.1)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_the_weighted_loss_of_a_batch_and_its_gradient_are_pytorchs(label_smoothing):
    rng = np.random.default_rng(0)
    labels = rng.choice(5, 40, p=[0.6, 0.2, 0.1, 0.05, 0.05])
    weights = balanced_weights(labels, 6)  # of six, of which the last has no images
    logits = torch.tensor(rng.normal(0, 2, (2, 40, 6)), dtype=torch.float32)[0].requires_grad_()
    again = logits.detach().clone().requires_grad_()
    loss = model.WeightedCrossentropy(weights, label_smoothing)(torch.tensor(labels), logits.softmax(dim=1)).mean()
    theirs = torch.nn.functional.cross_entropy(
        again, torch.tensor(labels), weight=torch.tensor(weights), label_smoothing=label_smoothing
    )
    assert loss.item() == pytest.approx(theirs.item(), rel=1e-5)
    loss.backward()
    theirs.backward()
    torch.testing.assert_close(logits.grad, again.grad, rtol=1e-3, atol=1e-6)


def test_a_nearer_start_ends_in_the_same_optimum(tmp_path, monkeypatch):
    monkeypatch.setattr(solver, "TOLERANCE", 1e-9)
    rng = np.random.default_rng(1)
    features, labels = rng.normal(0, 1, (200, 6)).astype(np.float32), rng.integers(0, 3, 200)
    kept = solver.KeptFeatures(tmp_path, solver.Scale.of(features), labels)
    kept.keep(1, 0, features)
    along = solver.directions(kept)
    cold, *_ = solver.solve(kept, 1, 3, 1e-2, along=along)
    stronger, *_ = solver.solve(kept, 1, 3, 1e-1, along=along)
    warm, *_ = solver.solve(kept, 1, 3, 1e-2, along=along, start=stronger)
    np.testing.assert_allclose(warm[:-1], cold[:-1], atol=2e-3)
    monkeypatch.setattr(solver, "MAX_ITERATIONS", 1)  # and where it starts it begins
    there, *_ = solver.solve(kept, 1, 3, 1e-2, along=along, start=cold)
    np.testing.assert_allclose(there, cold, atol=1e-4)
    assert not np.allclose(solver.solve(kept, 1, 3, 1e-2, along=along)[0], cold, atol=1e-2)


@pytest.mark.parametrize(("recipe", "unfreeze"), [(SMALL, "none"), (TUNED, "last-stage")])
def test_estimating_changes_nothing(digits, at_a_glance, recipe, unfreeze):
    recipe = dataclasses.replace(recipe, image_size=32, batch_size=8, unfreeze=unfreeze)
    networks = model.build_networks(
        BACKBONES["MobileNet"],
        Weights("random"),
        recipe=recipe,
        image_shape=(28, 28, 1),
        num_classes=10,
        num_steps=4,
        seed=0,
        precision="float32",
    )
    head, whole = networks.head, networks.whole
    job = types.SimpleNamespace(
        recipe=recipe,
        record=types.SimpleNamespace(history=[]),
        data=digits,
        train_rows=np.arange(100),
        watched="validation",
        watched_images=(digits.train_images, digits.train_labels, np.arange(100, 130)),
        rows_of_epoch=lambda num_epochs: np.arange(100),
        num_more_test_images=500,
        num_looked_at=0,
        num_corrupted_images=0,
        epochs_left=range(recipe.num_epochs + (recipe.num_unfrozen_epochs if whole else 0)),
    )
    trained = [one for one in (head, whole) if one is not None]
    before = [loop.checkpoint_arrays(one) for one in trained]
    speeds = loop.measure(job, networks)
    *epochs, predicting = loop.seconds_expected(job, networks, speeds)
    assert len(epochs) == recipe.num_epochs + (recipe.num_unfrozen_epochs if whole else 0)
    assert (0 < sum(epochs) + predicting).all() and (sum(epochs) + predicting < 600).all()
    job.num_corrupted_images = 10**7  # of which each takes a tenth of a millisecond at least
    assert (loop.seconds_expected(job, networks, speeds)[-1] > 600).all()
    for one, arrays in zip(trained, before, strict=True):
        after = loop.checkpoint_arrays(one)
        assert after.keys() == arrays.keys() and all(np.array_equal(after[name], arrays[name]) for name in arrays)


def test_a_penalty_is_never_chosen_by_the_test_set():
    with pytest.raises(ValueError, match="a validation split to choose by"):
        dataclasses.replace(TUNED, validation_fraction=0.0)


@pytest.mark.parametrize(("part", "num_layers"), [("none", 0), ("last-stage", 10), ("backbone", 53)])
def test_fine_tuning_trains_what_it_names_and_no_statistics(digits, part, num_layers):
    """Under `fit`, for which `training=False` at the call is not enough (keras-team/keras issue 20285)."""
    network = build()
    extractor = extractor_of(network, image_size=32, preprocessing="imagenet")
    model.unfreeze(network, part)
    whole = model.build_whole(extractor, new_head(ARTICLE), recipe=TUNING, num_steps=6)
    before = {layer.name: layer.get_weights() for layer in network.layers}
    fingerprint = model.frozen_fingerprint(network, part)
    images, labels = digits.train_images[:48], digits.train_labels[:48]
    train_one_epoch(None, whole, images, labels, epoch=1, recipe=TUNED)
    changed = {
        layer.name
        for layer in network.layers
        if any(not np.array_equal(a, b) for a, b in zip(layer.get_weights(), before[layer.name], strict=True))
    }
    convolutions = {layer.name for layer in network.layers if isinstance(layer, keras.layers.Conv2D)}
    assert len(changed) == num_layers and changed <= convolutions
    assert part != "last-stage" or all(name.startswith("conv5_") for name in changed)
    assert model.frozen_fingerprint(network, part) == fingerprint
    assert num_layers == 0 or model.frozen_fingerprint(network, "none") != fingerprint


def test_in_bfloat16_the_features_are_nearly_the_same(backbone, digits):
    half = build(precision="bfloat16")
    assert keras.config.dtype_policy().name == "float32"
    assert all(ours.dtype == "float32" for ours in half.weights)
    features = [
        extract(extractor_of(network, image_size=32), images, recipe=SMALL)
        for images in (digits.test_images[:32],)
        for network in (backbone, half)
    ]
    assert features[1].dtype == np.float32
    scale = solver.Scale.of(features[0])
    difference = (features[1] - features[0]) / np.maximum(scale.deviation, 1e-3)
    assert 0 < np.abs(difference).mean() < 0.5


def test_checkpoint_goes_on_bit_for_bit(backbone, digits):
    extractor = extractor_of(backbone, image_size=28, preprocessing="imagenet")
    images, labels = digits.train_images[:96], digits.train_labels[:96]

    def trained(head, *epochs):
        for epoch in epochs:
            figures = train_one_epoch(extractor, head, images, labels, epoch=epoch)
        return figures, loop.checkpoint_arrays(head)

    expected_figures, expected = trained(new_head(), 1, 2)
    _, arrays = trained(new_head(), 1)
    head = model.build_head(2048, 10, normalize_features=True, learning_rate=SMALL.learning_rate)
    loop.restore(head, arrays)
    figures, got = trained(head, 2)
    assert figures == expected_figures
    assert all(np.array_equal(got[name], expected[name]) for name in expected)
    assert got["optimizer/0"] == 6  # steps: three batches in each of two epochs


@pytest.mark.parametrize("unfreeze", ["none", "last-stage"])
def test_an_epoch_goes_on_within_bit_for_bit(digits, monkeypatch, unfreeze):
    """After the first of its three parts, in another network, from what was kept."""
    monkeypatch.setattr(features, "IMAGES_AT_ONCE", 32)
    images, labels = digits.train_images[:96], digits.train_labels[:96]

    def new():
        network = build()
        extractor = extractor_of(network, image_size=28, preprocessing="imagenet")
        if unfreeze == "none":
            return new_head(), extractor
        model.unfreeze(network, unfreeze)
        return model.build_whole(extractor, new_head(TUNED), recipe=TUNING, num_steps=6), None

    def steps(network, extractor, sums):
        with Journal().epoch("", len(images)) as bar:
            yield from loop.train_epoch(
                *(network, images, labels, np.arange(96), sums),
                feature_extractor=extractor,
                recipe=SMALL,
                seed=0,
                epoch=1,
                bar=bar,
            )

    (whole, extractor), sums = new(), np.zeros(3)
    for num_seen in steps(whole, extractor, sums):
        if num_seen == 32:
            kept = {name: array.copy() for name, array in loop.checkpoint_arrays(whole).items()}, sums.copy()
    (other, extractor), (arrays, sums_kept) = new(), kept
    loop.restore(other, arrays)
    assert list(steps(other, extractor, sums_kept)) == [64, 96]
    assert sums_kept.tolist() == sums.tolist()
    expected = loop.checkpoint_arrays(whole)
    assert all(np.array_equal(array, expected[name]) for name, array in loop.checkpoint_arrays(other).items())


def test_a_loss_that_is_not_finite_stops_the_head_within_the_epoch(backbone, digits, monkeypatch):
    monkeypatch.setattr(features, "IMAGES_AT_ONCE", 32)
    extractor = extractor_of(backbone, image_size=28, preprocessing="imagenet")
    head = model.build_head(2048, 10, normalize_features=False, learning_rate=1e38)
    with pytest.raises(UserError, match=r"the loss in steps \d to \d of epoch 1 is nan, at a learning rate of 1e\+38"):
        train_one_epoch(extractor, head, digits.train_images[:96], digits.train_labels[:96], epoch=1)


def test_saved_network_is_read_by_keras_alone(backbone, digits, tmp_path):
    extractor = extractor_of(backbone, image_size=32, preprocessing="imagenet")
    head = new_head()
    model.join(extractor, head).save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    images = digits.test_images[:5].astype(np.float32)
    expected = loop.predict(head, extract(extractor, images, recipe=SMALL))
    np.testing.assert_allclose(loaded.predict(images, verbose=0), expected, atol=1e-5)


OF_EACH_KIND = {  # of preprocessing, the larger ones where nothing is compiled; all others are among the thorough ones
    "tensorflow": ["MobileNetV2", "MobileNetV3Small"],
    "torch": ["ConvNeXtTiny", "DenseNet121"],
    "jax": ["VGG16"],
}


@pytest.mark.parametrize(
    ("which", "name"),
    [
        *[("few", "tensorflow"), ("few", "torch"), pytest.param("few", "jax", marks=pytest.mark.thorough)],
        *[pytest.param("all", name, marks=pytest.mark.thorough) for name in KERAS_BACKENDS],
    ],
)
def test_frozen_on_every_backend(which, name):
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (HERE.parents[1], HERE.parent)))}
    command = [sys.executable, str(HERE / "check_backend.py"), name]
    command += OF_EACH_KIND[name] if which == "few" else [one.name for one in BACKBONES.values() if not one.package]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() == "as expected"
