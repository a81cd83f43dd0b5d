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
from keras.src.legacy.preprocessing import image as legacy
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from torch.utils.flop_counter import FlopCounterMode

from compare.data import dataset
from compare.system.errors import UserError
from compare.training.options import KERAS_BACKENDS
from compare.training.progress import Journal
from pretrained import augment, loop, model, solver
from pretrained.recipe import ARTICLE, DEMO, TUNED
from pretrained.weights import Weights

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def backbone():
    return model.build_backbone(Weights("random"), seed=0)


@pytest.fixture(scope="module")
def digits():
    return dataset.load("digits")


def new_head(recipe=DEMO):
    keras.utils.set_random_seed(0)
    return model.build_head(10, normalize_features=recipe.normalize_features, learning_rate=recipe.learning_rate)


def train_one_epoch(extractor, head, images, labels, *, epoch, recipe=DEMO):
    sums = np.zeros(3)
    with Journal().epoch("", len(images)) as bar:
        for _ in loop.train_epoch(
            head, images, labels, sums, feature_extractor=extractor, recipe=recipe, seed=0, epoch=epoch, bar=bar
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
        image[..., np.newaxis].astype(np.float32),
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
    ours = augment.apply(image[np.newaxis], augment.affine_maps(*one, np.array([flip]), 28))[0]
    assert ours.shape == (28, 28, 1) and ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, atol=0.02)  # of 255 grey levels


def test_draws_fill_the_articles_ranges():
    maps = augment.draw(20_000, np.random.default_rng(0), ARTICLE)
    zoom_x, zoom_y = np.abs(maps[:, 0]), maps[:, 4]  # the cosine of 0.2° is 1 to five places
    assert 0.8 <= zoom_x.min() < 0.801 and 1.199 < zoom_x.max() <= 1.2
    assert 0.799 <= zoom_y.min() < 0.801 and 1.199 < zoom_y.max() <= 1.2
    assert abs(np.corrcoef(zoom_x, zoom_y)[0, 1]) < 0.03  # each axis has a draw of its own
    angle = np.rad2deg(np.arcsin(-maps[:, 1] / zoom_y))
    assert 0.19 < np.abs(angle).max() <= 0.2001
    assert 0.48 < (maps[:, 0] < 0).mean() < 0.52  # half of them mirrored
    assert not (augment.draw(100, np.random.default_rng(0), DEMO)[:, 0] < 0).any()


def test_no_change_is_no_change(digits):
    nothing = augment.affine_maps(np.zeros(3), np.ones(3), np.ones(3), np.zeros(3, bool), 28)
    np.testing.assert_allclose(
        augment.apply(digits.test_images[:3], nothing)[..., 0], digits.test_images[:3], atol=1e-4
    )


@pytest.mark.parametrize("recipe", [DEMO, TUNED])
def test_the_first_images_are_kept_as_the_epoch_draws_them(digits, recipe):
    images = digits.train_images[:100]
    first = loop.first_of(5, images, recipe=recipe, seed=1, epoch=1)
    if recipe is DEMO:
        drawn = list(loop.augmented(images, recipe=recipe, seed=1, epoch=1))
        rows, all_images = np.concatenate([rows for rows, _ in drawn]), np.concatenate([some for _, some in drawn])
        all_images = all_images[rows.argsort()]
    else:  # the features of kept passes are in the images' own order
        all_images = augment.apply(images, augment.draw(100, np.random.default_rng([1, 1]), recipe))
    np.testing.assert_allclose(first, all_images[:5], atol=1e-3)
    assert first.shape == (5, 28, 28, 1) and np.abs(first[..., 0] - images[:5]).max() > 20


# ---- the network


@pytest.mark.parametrize(
    ("preprocessing", "expected"),
    # blue, green and red of ImageNet's mean, as the Caffe models have them
    [("unit", np.array([1, 1, 1])), ("imagenet", np.array([255 - 103.939, 255 - 116.779, 255 - 123.68]))],
)
def test_white_enters_the_backbone_as_the_preprocessing_says(preprocessing, expected):
    white = np.full((2, 28, 28, 1), 255, np.float32)
    entered = model.network_input(white, image_size=40, preprocessing=preprocessing)
    entered = keras.ops.convert_to_numpy(entered)
    assert entered.shape == (2, 40, 40, 3)
    np.testing.assert_allclose(entered, np.broadcast_to(expected, entered.shape), rtol=1e-5)


@pytest.mark.parametrize(("preprocessing", "image_size"), [("unit", 28), ("imagenet", 28), ("imagenet", 40)])
def test_features_are_keras_applications_on_three_channels(backbone, digits, preprocessing, image_size):
    extractor = model.build_feature_extractor(backbone, image_size=image_size, preprocessing=preprocessing)
    images = np.repeat(digits.test_images[:4, ..., np.newaxis].astype(np.float32), 3, axis=-1)
    images = keras.ops.convert_to_numpy(keras.ops.image.resize(images, (image_size, image_size)))
    if preprocessing == "unit":
        images = images / 255
    else:
        images = keras.applications.resnet50.preprocess_input(images.copy())
    expected = backbone.predict(images, verbose=0).mean(axis=(1, 2))
    np.testing.assert_allclose(loop.extract(extractor, digits.test_images[:4]), expected, rtol=1e-4, atol=1e-4)


def test_size_of_the_network(backbone):
    # Keras' documentation gives ResNet50 without its top 23,587,712 parameters.
    assert model.num_parameters(backbone.weights) == 23_587_712
    assert backbone.trainable_variables == []
    assert model.num_parameters(new_head(ARTICLE).weights) == 2048 * 10 + 10


@pytest.mark.parametrize("image_size", [28, 96])
def test_flops_are_those_that_pytorch_counts(backbone, image_size):
    with FlopCounterMode(display=False) as counter:
        backbone(np.zeros((1, image_size, image_size, 3), np.float32))
    assert model.flops_per_image(backbone, 10, image_size) == counter.get_total_flops() + 2 * 2048 * 10


# ---- training


def test_in_parts_it_is_what_fit_makes_of_the_whole(backbone, digits, monkeypatch):
    """Backbone in batches of 256 and head in batches of 32 end with the head of plain `fit` on the joined network."""
    monkeypatch.setattr(loop, "IMAGES_AT_ONCE", 64)
    recipe = dataclasses.replace(DEMO, image_size=28, normalize_features=False, learning_rate=1e-4)
    extractor = model.build_feature_extractor(backbone, image_size=28, preprocessing=recipe.preprocessing)
    images, labels = digits.train_images[:150], digits.train_labels[:150]
    head = new_head(recipe)
    loss, accuracy = train_one_epoch(extractor, head, images, labels, epoch=1, recipe=recipe)

    plain_head = new_head(recipe)
    whole = model.join(extractor, plain_head)
    whole.compile(keras.optimizers.SGD(1e-4), "sparse_categorical_crossentropy", metrics=["accuracy"])
    rng = np.random.default_rng([0, 1])
    order = rng.permutation(150)
    augmented = augment.apply(images[order], augment.draw(150, rng, recipe))
    history = whole.fit(augmented, labels[order], batch_size=32, shuffle=False, verbose=0).history
    assert loss == pytest.approx(history["loss"][0], rel=1e-3)
    assert accuracy == pytest.approx(history["accuracy"][0], abs=1e-6)
    for ours, theirs in zip(head.get_weights(), plain_head.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-2, atol=1e-5)
    assert not np.array_equal(head.get_weights()[0], new_head(recipe).get_weights()[0])


def halves_of(kept, number, num_images, num_features):
    """What the files of a pass hold, float16 (num_images, num_features), without their hashes."""
    content = b"".join(kept.path(number, rows.start).read_bytes()[:-32] for rows in kept.rows())
    return np.frombuffer(content, np.float16).reshape(num_images, num_features)


def test_kept_features_are_those_of_the_augmented_images(backbone, digits, tmp_path, monkeypatch):
    monkeypatch.setattr(solver, "IMAGES_IN_FILE", 32)
    extractor = model.build_feature_extractor(backbone, image_size=28, preprocessing="imagenet")
    images, labels = digits.train_images[:80], digits.train_labels[:80]
    plain = loop.extract(extractor, images)
    scale = solver.Scale.of(plain)
    kept = solver.KeptFeatures(tmp_path, scale, labels)
    with Journal().epoch("", 80) as bar:
        loop.keep_pass(extractor, kept, images, recipe=TUNED, seed=3, epoch=2, bar=bar)
    maps = augment.draw(80, np.random.default_rng([3, 2]), TUNED)
    expected = loop.extract(extractor, augment.apply(images, maps))
    halves = halves_of(kept, 2, 80, 2048)
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert sum(sizes) == 80 * 2048 * 2 + 3 * 32  # what the disk is reckoned by, and three hashes
    np.testing.assert_allclose(halves * scale.deviation + scale.mean, expected, rtol=2e-3, atol=2e-3)
    assert not np.allclose(expected, plain, atol=0.05)  # they were augmented

    # A run that goes on makes anew what is missing, cut short or not as it was written, and nothing else.
    before = {path: path.read_bytes() for path in sorted(tmp_path.iterdir())}
    assert kept.missing(2) == []
    for path, content in zip(before, (None, b"\1" + before[kept.path(2, 32)][1:], b""), strict=True):
        path.unlink() if content is None else path.write_bytes(content)
        again = solver.KeptFeatures(tmp_path, scale, labels)
        assert [again.path(2, rows.start) for rows in again.missing(2)] == [path]
        with Journal().epoch("", 80) as bar:
            loop.keep_pass(extractor, again, images, recipe=TUNED, seed=3, epoch=2, bar=bar)
        assert {path: path.read_bytes() for path in before} == before
    solver.remove_kept(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("penalty", [1e-1, 1e-3])
def test_the_optimum_is_scikit_learns(tmp_path, monkeypatch, penalty):
    """On two passes, float16 files and all, the head is LogisticRegression's with C = 1 / (penalty · images)."""
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

    halves = np.concatenate([halves_of(kept, number, 300, 12) for number in (1, 2)]).astype(np.float64)
    theirs = LogisticRegression(C=1 / (penalty * 600), tol=1e-8, max_iter=10_000).fit(halves, np.tile(labels, 2))
    # the offset is only known up to a constant: softmax does not see it
    np.testing.assert_allclose(solution[:-1].T, theirs.coef_, atol=1e-2)
    np.testing.assert_allclose(
        solution[-1] - solution[-1].mean(), theirs.intercept_ - theirs.intercept_.mean(), atol=1e-2
    )
    assert loss == pytest.approx(log_loss(np.tile(labels, 2), theirs.predict_proba(halves)), rel=1e-3)
    assert accuracy == pytest.approx(theirs.score(halves, np.tile(labels, 2)), abs=0.005)

    weights, offset = scale.on_features(solution)
    logits = features[1] @ weights + offset
    np.testing.assert_allclose(logits, halves[300:] @ solution[:-1] + solution[-1], atol=0.02)


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


@pytest.mark.parametrize(("recipe", "unfreeze"), [(DEMO, "none"), (TUNED, "none"), (TUNED, "last-stage")])
def test_estimating_changes_nothing(digits, recipe, unfreeze):
    recipe = dataclasses.replace(recipe, image_size=28, batch_size=8, unfreeze=unfreeze)
    network = model.build_backbone(Weights("random"), seed=0)
    extractor = model.build_feature_extractor(network, image_size=28, preprocessing="imagenet")
    head, whole = new_head(recipe), None
    if unfreeze != "none":
        model.unfreeze(network, unfreeze)
        whole = model.build_whole(extractor, head, learning_rate=1e-3)
    job = types.SimpleNamespace(
        recipe=recipe,
        record={"history": []},
        data=digits,
        train_images_and_labels=(digits.train_images[:300], digits.train_labels[:300]),
        watched_images_and_labels=(digits.train_images[300:400], digits.train_labels[300:400]),
        num_more_test_images=500,
        num_corrupted_images=0,
        epochs_left=range(recipe.num_epochs + (recipe.num_unfrozen_epochs if whole else 0)),
    )
    trained = [one for one in (head, whole) if one is not None]
    before = [loop.checkpoint_arrays(one) for one in trained]
    epochs, predicting = loop.estimate_epochs(job, extractor, head, whole)
    assert len(epochs) == recipe.num_epochs + (recipe.num_unfrozen_epochs if whole else 0)
    assert (0 < sum(epochs) + predicting).all() and (sum(epochs) + predicting < 600).all()
    job.num_corrupted_images = 10**7  # of which each takes a tenth of a millisecond at least
    assert (loop.estimate_epochs(job, extractor, head, whole)[1] > 600).all()
    for one, arrays in zip(trained, before, strict=True):
        after = loop.checkpoint_arrays(one)
        assert after.keys() == arrays.keys() and all(np.array_equal(after[name], arrays[name]) for name in arrays)


def test_a_penalty_is_never_chosen_by_the_test_set():
    with pytest.raises(ValueError, match="a validation split to choose by"):
        dataclasses.replace(TUNED, validation_fraction=0.0)


@pytest.mark.parametrize(("part", "num_layers"), [("none", 0), ("last-stage", 10), ("backbone", 53)])
def test_fine_tuning_trains_what_it_names_and_no_statistics(digits, part, num_layers):
    """Under `fit`, for which `training=False` at the call is not enough (keras-team/keras issue 20285)."""
    network = model.build_backbone(Weights("random"), seed=0)
    extractor = model.build_feature_extractor(network, image_size=32, preprocessing="imagenet")
    model.unfreeze(network, part)
    whole = model.build_whole(extractor, new_head(ARTICLE), learning_rate=1e-3)
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
    half = model.build_backbone(Weights("random"), seed=0, precision="bfloat16")
    assert keras.config.dtype_policy().name == "float32"
    assert all(ours.dtype == "float32" for ours in half.weights)
    features = [
        loop.extract(model.build_feature_extractor(network, image_size=32, preprocessing="imagenet"), images)
        for images in (digits.test_images[:32],)
        for network in (backbone, half)
    ]
    assert features[1].dtype == np.float32
    scale = solver.Scale.of(features[0])
    difference = (features[1] - features[0]) / np.maximum(scale.deviation, 1e-3)
    assert 0 < np.abs(difference).mean() < 0.5


def test_checkpoint_goes_on_bit_for_bit(backbone, digits):
    extractor = model.build_feature_extractor(backbone, image_size=28, preprocessing="imagenet")
    images, labels = digits.train_images[:96], digits.train_labels[:96]

    def trained(head, *epochs):
        for epoch in epochs:
            figures = train_one_epoch(extractor, head, images, labels, epoch=epoch)
        return figures, loop.checkpoint_arrays(head)

    expected_figures, expected = trained(new_head(), 1, 2)
    _, arrays = trained(new_head(), 1)
    head = model.build_head(10, normalize_features=True, learning_rate=DEMO.learning_rate)
    loop.restore(head, arrays)
    figures, got = trained(head, 2)
    assert figures == expected_figures
    assert all(np.array_equal(got[name], expected[name]) for name in expected)
    assert got["optimizer/0"] == 6  # steps: three batches in each of two epochs


@pytest.mark.parametrize("unfreeze", ["none", "last-stage"])
def test_an_epoch_goes_on_within_bit_for_bit(digits, monkeypatch, unfreeze):
    """After the first of its three parts, in another network, from what was kept."""
    monkeypatch.setattr(loop, "IMAGES_AT_ONCE", 32)
    images, labels = digits.train_images[:96], digits.train_labels[:96]

    def new():
        network = model.build_backbone(Weights("random"), seed=0)
        extractor = model.build_feature_extractor(network, image_size=28, preprocessing="imagenet")
        if unfreeze == "none":
            return new_head(), extractor
        model.unfreeze(network, unfreeze)
        return model.build_whole(extractor, new_head(TUNED), learning_rate=1e-3), None

    def steps(network, extractor, sums):
        with Journal().epoch("", len(images)) as bar:
            yield from loop.train_epoch(
                *(network, images, labels, sums), feature_extractor=extractor, recipe=DEMO, seed=0, epoch=1, bar=bar
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
    monkeypatch.setattr(loop, "IMAGES_AT_ONCE", 32)
    extractor = model.build_feature_extractor(backbone, image_size=28, preprocessing="imagenet")
    head = model.build_head(10, normalize_features=False, learning_rate=1e38)
    with pytest.raises(UserError, match=r"the loss in steps \d to \d of epoch 1 is nan, at a learning rate of 1e\+38"):
        train_one_epoch(extractor, head, digits.train_images[:96], digits.train_labels[:96], epoch=1)


def test_saved_network_is_read_by_keras_alone(backbone, digits, tmp_path):
    extractor = model.build_feature_extractor(backbone, image_size=32, preprocessing="imagenet")
    head = new_head()
    model.join(extractor, head).save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    images = digits.test_images[:5].reshape(-1, 28, 28, 1).astype(np.float32)
    expected = loop.predict(head, loop.extract(extractor, images))
    np.testing.assert_allclose(loaded.predict(images, verbose=0), expected, atol=1e-5)


@pytest.mark.parametrize("name", KERAS_BACKENDS)
def test_frozen_on_every_backend(name):
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    environment = os.environ | {"PYTHONPATH": str(HERE.parent)}
    command = [sys.executable, str(HERE / "check_backend.py"), name]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() == "as expected"
