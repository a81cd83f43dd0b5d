"""Corrupted images. Truths: numbers by hand, SciPy's rotation, the normal distribution."""

import hashlib

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats

from compare.data import corruptions, dataset
from compare.data.corruptions import STRENGTHS, corrupt


def dot(row=13, column=12):
    image = np.zeros((28, 28, 1), np.uint8)
    image[row, column] = 200
    return image


def test_a_shift_moves_every_image_across_and_down_by_whole_pixels():
    places = np.argwhere(corrupt(np.stack([dot()] * 200), "shift", 3))
    assert len(places) == 200 and set(places[:, 0]) == set(range(200))
    assert {tuple(place[1:3]) for place in places} == {(10, 9), (10, 15), (16, 9), (16, 15)}  # each way
    assert not corrupt(np.stack([dot(27, 27)] * 200), "shift", 1).all(axis=0).any()
    assert {corrupt(np.stack([dot(27, 27)] * 200), "shift", 1)[n].max() for n in range(200)} == {0, 200}  # pushed out


def test_a_rotation_is_scipys_one_way_or_the_other():
    image = dataset.load("digits").test_images[3]
    turned = corrupt(np.stack([image] * 50), "rotation", 24).astype(float)
    theirs = [
        scipy.ndimage.rotate(image.astype(float), angle, reshape=False, order=1, mode="grid-constant")
        for angle in (24, -24)
    ]
    which = [[np.abs(one - other).max() <= 0.5 for other in theirs] for one in turned]
    assert {tuple(pair) for pair in which} == {(True, False), (False, True)}
    quarter = corrupt(image[np.newaxis], "rotation", 90)[0]
    assert any(np.array_equal(quarter, np.rot90(image, turns)) for turns in (1, -1))


def test_half_the_size_is_the_mean_of_every_four_pixels():
    image = np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)
    smaller = corrupt(image[np.newaxis, ..., np.newaxis], "scale", 0.5)[0, ..., 0]
    blocks = image.reshape(14, 2, 14, 2).mean(axis=(1, 3))
    assert np.abs(smaller[7:21, 7:21] - blocks).max() <= 0.5
    smaller[7:21, 7:21] = 0
    assert not smaller.any()


def test_noise_has_the_deviation_that_it_says():
    changed = corrupt(np.full((200, 28, 28, 1), 128, np.uint8), "noise", 0.12).astype(float) - 128
    assert changed.std() == pytest.approx(0.12 * 255, rel=0.02) and abs(changed.mean()) < 0.5
    assert scipy.stats.kstest(changed.ravel()[::50] / (0.12 * 255), "norm").pvalue > 0.01
    ends = corrupt(np.zeros((1, 28, 28, 1), np.uint8), "noise", 0.38)
    assert ends.min() == 0 and 0.4 < (ends == 0).mean() < 0.6  # cut off, not wrapped around


def test_contrast_by_hand():
    image = np.zeros((1, 28, 28, 1), np.uint8)
    image[0, :7] = 200  # a quarter of it: the mean is 50
    changed = corrupt(image, "contrast", 0.3)[0]
    assert (changed[:7] == 95).all() and (changed[7:] == 35).all()  # 50 + 0.3 · 150 and 50 - 0.3 · 50


def test_blur_spreads_a_dot_as_a_gaussian():
    spread = corrupt(dot()[np.newaxis], "blur", 1.5)[0].astype(float)
    weights = np.exp(-((np.arange(28) - 13) ** 2) / (2 * 1.5**2)), np.exp(-((np.arange(28) - 12) ** 2) / (2 * 1.5**2))
    expected = 200 * np.outer(*(weight / weight.sum() for weight in weights))[..., np.newaxis]
    assert np.abs(spread - expected).max() <= 0.51
    assert not corrupt(np.full((1, 28, 28, 1), 90, np.uint8), "blur", 2.0).min() == 90  # black comes in at the edge


@pytest.mark.parametrize("kind", STRENGTHS)
def test_stronger_is_further_from_the_image(kind):
    images = dataset.load("digits").test_images[:30]
    copies = [corrupt(images, kind, amount) for amount in STRENGTHS[kind]]
    assert all(copy.dtype == np.uint8 and copy.shape == images.shape for copy in copies)
    away = [np.abs(copy.astype(float) - images).mean() for copy in copies]
    assert len(away) == 5 and 0 < away[0] and away == sorted(away) and away[4] > 1.5 * away[0]


@pytest.mark.parametrize("kind", STRENGTHS)
def test_an_image_is_corrupted_alike_alone_and_among_others(kind):
    images = dataset.load("digits").test_images[:9]
    before = images.copy()
    for amount in STRENGTHS[kind]:
        together = corrupt(images, kind, amount)
        assert np.array_equal(corrupt(images[:1], kind, amount), together[:1])
        assert np.array_equal(corrupt(images, kind, amount), together)
    assert np.array_equal(images, before)


def test_the_sample_has_every_classs_share():
    labels = np.random.default_rng(1).choice(4, 1000, p=[0.5, 0.3, 0.199, 0.001]).astype(np.uint8)
    rows = corruptions.sample(labels, 200)
    assert rows.dtype == np.int64 and len(rows) == 200 and (np.diff(rows) > 0).all()
    shares = np.bincount(labels[rows], minlength=4) / 200 - np.bincount(labels, minlength=4) / 1000
    assert np.abs(shares).max() <= 0.01
    assert np.array_equal(rows, corruptions.sample(labels, 200))
    assert rows.max() > 900 and rows.min() < 100 and len(set(np.diff(rows))) > 5  # from everywhere
    assert np.array_equal(corruptions.sample(labels[:50]), np.arange(50))
    assert len(corruptions.sample(np.zeros(2001, np.uint8))) == corruptions.NUM_IMAGES == 2000


@pytest.mark.parametrize("kind", STRENGTHS)
def test_at_28_pixels_of_grey_copies_are_what_they_were_before_there_were_other_images(kind):
    """The first bytes of the SHA-256 of all five copies of twelve drawn images, by the code of then."""
    before = {
        "shift": "d1814f31a11197a4",
        "rotation": "7da787915be7f4e1",
        "scale": "38bf47fa665175fc",
        "noise": "a2f05a2160980121",
        "contrast": "6f754dddeabc4afa",
        "blur": "7958a143256cb922",
    }
    images = np.random.default_rng(5).integers(0, 256, (12, 28, 28, 1), np.uint8)
    images[:, :6] = 0
    copies = b"".join(corrupt(images, kind, amount).tobytes() for amount in STRENGTHS[kind])
    assert hashlib.sha256(copies).hexdigest()[:16] == before[kind]


@pytest.mark.parametrize("kind", [kind for kind in STRENGTHS if kind != "noise"])
def test_three_equal_channels_are_corrupted_as_one(kind):
    grey = np.random.default_rng(6).integers(0, 256, (4, 64, 48, 1), np.uint8)
    colour = corrupt(np.repeat(grey, 3, axis=3), kind, STRENGTHS[kind][2])
    assert np.array_equal(colour, np.repeat(corrupt(grey, kind, STRENGTHS[kind][2]), 3, axis=3))


def test_pixels_are_those_of_an_image_of_28():
    image = np.zeros((1, 56, 84, 3), np.uint8)
    image[0, 20, 30] = 90, 150, 210
    moved = np.argwhere(corrupt(image, "shift", 3)[0, ..., 1])  # three of 28 are six of 56
    assert len(moved) == 1 and np.array_equal(np.abs(moved[0] - (20, 30)), (6, 6))
