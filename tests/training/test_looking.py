"""Where a network looked, by covering it. Truth: a network whose answer is one corner's brightness."""

import numpy as np
import pytest

from compare.training.looking import GREY, NUM_PLACES, Looked, are_large_enough, occlusion


def look(images):
    """Class 1 as likely as the upper right pixel is bright."""
    bright = images[:, 0, -1, 0] / 255
    return Looked(np.stack([1 - bright, bright], axis=1).astype(np.float32), images[:, 0, 0], None)


def test_a_patch_costs_as_much_as_it_covers():
    images = np.zeros((3, 20, 28, 1), np.uint8)
    images[:, 0, -1, 0] = 255, 0, 204  # class 1, class 0, class 1
    falls = occlusion(images, look(images).probabilities, look)
    assert falls.shape == (3, NUM_PLACES, NUM_PLACES) and falls.dtype == np.float32
    expected = np.zeros((3, NUM_PLACES, NUM_PLACES))
    expected[:, 0, -1] = 1 - GREY / 255, GREY / 255, (204 - GREY) / 255
    np.testing.assert_allclose(falls, expected, atol=1e-6)
    assert (images[:, 1:] == 0).all()  # the pictures themselves stay as they are


@pytest.mark.parametrize("side", [8, 28, 33, 96])
def test_every_pixel_is_covered(side):
    seen = []

    def keep(copies):
        seen.append(copies)
        return Looked(np.ones((len(copies), 1), np.float32), copies, None)

    occlusion(np.zeros((1, side, side, 1), np.uint8), np.ones((1, 1)), keep)
    assert (seen[0] == GREY).any(axis=0).all()


def test_maps_of_three_places_tell_nothing():
    assert (
        not are_large_enough(None)
        and not are_large_enough(np.zeros((1, 3, 5)))
        and are_large_enough(np.zeros((1, 4, 4)))
    )
