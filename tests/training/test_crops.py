"""What training shows of photographs, drawn once and cut in both branches. Truths: torchvision's own functions, numbers
by hand."""

import dataclasses

import keras
import numpy as np
import pytest
import torch
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import functional

from compare.training import crops
from pretrained import augment, feature_network
from scratch_resnet import batches
from scratch_resnet import recipe as recipes

TUNED = dataclasses.replace(recipes.TUNED, **recipes.PHOTOGRAPHS)
NOISE = np.random.default_rng(0).integers(0, 256, (24, 70, 90, 3), np.uint8)
STRONG = dataclasses.replace(TUNED, crop_area=0.08, colour_jitter=0.6)


def by_torchvision(images, drawn, image_size):
    """Cut, resize, mirror, recolour: one image after the other, in [0, 1]."""
    shown = []
    for image, one in zip(images, drawn, strict=True):
        top, left, height, width = (int(number) for number in one["box"])
        image = torch.from_numpy(image).permute(2, 0, 1) / 255
        image = functional.resized_crop(image, top, left, height, width, [image_size, image_size], antialias=True)
        image = functional.hflip(image) if one["mirrored"] else image
        adjust = (functional.adjust_brightness, functional.adjust_contrast, functional.adjust_saturation)
        for change, factor in zip(adjust, one["factors"].tolist(), strict=True):
            image = change(image, factor)
        shown.append(image.permute(1, 2, 0).numpy())
    return np.stack(shown)


@pytest.mark.parametrize("image_size", [16, 64, 128])
def test_both_branches_show_what_torchvision_shows(image_size):
    """Made smaller, larger, and some of both; in strong light and in weak."""
    drawn = crops.draw(24, np.random.default_rng(1), STRONG, height=70, width=90)
    expected = by_torchvision(NOISE, drawn, image_size)
    boxes, flips, factors = (torch.from_numpy(np.ascontiguousarray(drawn[name])) for name in crops.DRAWN.names)
    ours = batches.cropped(torch.from_numpy(NOISE), boxes, flips, image_size)
    ours = batches.recoloured(ours, factors).permute(0, 2, 3, 1).numpy()
    kerass = augment.cropped(NOISE, drawn, image_size) / 255
    for shown in (ours, kerass):
        assert shown.dtype == np.float32 and shown.shape == (24, image_size, image_size, 3)
        np.testing.assert_allclose(shown, expected, atol=5e-5)  # a hundredth of a level
    assert 0.2 < drawn["mirrored"].mean() < 0.8


def test_parts_are_drawn_as_torchvision_draws_them():
    """The same distributions of area, ratio and place, by thousands of each."""
    recipe = dataclasses.replace(TUNED, crop_area=0.35)
    ours = crops.draw(4000, np.random.default_rng(0), recipe, height=110, width=110)["box"]
    torch.manual_seed(0)
    image = torch.empty(3, 110, 110)
    theirs = [RandomResizedCrop.get_params(image, [0.35, 1.0], [3 / 4, 4 / 3]) for _ in range(4000)]
    for boxes in (ours, np.array(theirs)):
        assert (boxes[:, :2] >= 0).all() and (boxes[:, :2] + boxes[:, 2:] <= 110).all()
        areas, ratios = boxes[:, 2:].prod(axis=1) / 110**2, boxes[:, 3] / boxes[:, 2]
        assert 0.34 < areas.min() < 0.37 and 0.96 < areas.max() <= 1 and 0.73 < ratios.min() and ratios.max() < 1.36
    for one, other in zip(ours.T, np.array(theirs).T, strict=True):
        assert abs(one.mean() - other.mean()) < 1 and abs(one.std() - other.std()) < 1
    assert np.array_equal(ours, np.rint(ours))


def test_draws_go_by_the_generator_alone_and_the_recipe_says_how_much():
    one, same, other = (
        crops.draw(500, np.random.default_rng(seed), TUNED, height=74, width=74) for seed in ([0, 1], [0, 1], [0, 2])
    )
    assert np.array_equal(one, same) and not np.array_equal(one, other)
    assert 0.8 <= one["factors"].min() < 0.82 and 1.18 < one["factors"].max() <= 1.2
    assert 0.4 < one["mirrored"].mean() < 0.6
    still = dataclasses.replace(TUNED, colour_jitter=0.0, horizontal_flip=False)
    drawn = crops.draw(500, np.random.default_rng(0), still, height=74, width=74)
    assert (drawn["factors"] == 1).all() and not drawn["mirrored"].any()


def test_where_no_part_fits_it_is_the_whole():
    thin = crops.draw(3, np.random.default_rng(0), TUNED, height=4, width=400)
    assert thin["box"].tolist() == [[0, 0, 4, 400]] * 3


@pytest.mark.parametrize("image_size", [32, 48, 64, 96, 128, 160, 224])
def test_the_middle_of_what_was_decoded_is_as_large_as_the_network_takes(image_size):
    side = crops.side_to_decode(dataclasses.replace(TUNED, image_size=image_size))
    assert 1.1 < side / image_size < 1.17
    rows, columns = crops.middle(side, side, TUNED.centre_crop)
    assert rows == columns and rows.stop - rows.start == image_size
    assert abs(rows.start - (side - rows.stop)) <= 1


def test_in_the_test_both_branches_show_the_middle():
    """Pixels as they are, where it has the size; else resized as torchvision does."""
    images = np.random.default_rng(0).integers(0, 256, (2, 110, 110, 3), np.uint8)
    recipe = dataclasses.replace(TUNED, image_size=96)
    scratch = batches.network_input(torch.from_numpy(images), 96, recipe.centre_crop).permute(0, 2, 3, 1).numpy()
    assert np.array_equal(scratch, images[:, 7:103, 7:103].astype(np.float32) / 255)
    pretrained = feature_network.shown(images.astype(np.float32), recipe)
    assert np.array_equal(keras.ops.convert_to_numpy(pretrained), images[:, 7:103, 7:103])
    small = dataclasses.replace(TUNED, image_size=40)
    middle = torch.from_numpy(images[:, 7:103, 7:103]).permute(0, 3, 1, 2) / 255
    expected = functional.resize(middle, [40, 40], antialias=True).permute(0, 2, 3, 1).numpy()
    scratch = batches.network_input(torch.from_numpy(images), 40, recipe.centre_crop).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(scratch, expected, atol=1e-5)
    pretrained = keras.ops.convert_to_numpy(feature_network.shown(images.astype(np.float32), small)) / 255
    np.testing.assert_allclose(pretrained, expected, atol=1e-5)
