"""The images as the network from scratch gets them. Truths: PIL's resizing and padding, and moves by hand."""

import dataclasses
import tracemalloc

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from small_recipes import SCRATCH as SMALL

from scratch_resnet import batches, hardware
from scratch_resnet.batches import Batches, flip_and_shift
from scratch_resnet.recipe import TUNED

CPU = torch.device("cpu")


def some_images(*shape):
    """Noise over a slope, uint8."""
    noise, slope = np.random.default_rng(0).integers(0, 100, shape), np.linspace(0, 155, shape[2])[:, None]
    return (noise + slope).astype(np.uint8)


@pytest.mark.parametrize("image_size", [28, 57, 96])
@pytest.mark.parametrize("shape", [(28, 28, 1), (64, 48, 1), (30, 40, 3), (96, 128, 3)])
def test_resizing_equals_pils_within_one_grey_level(image_size, shape):
    """And what is not square is padded as PIL's `ImageOps.pad` does."""
    images = np.concatenate([some_images(4, *shape), 255 * (some_images(4, *shape) // 120)])
    ours = Batches(images, np.zeros(8, np.uint8), device=CPU)
    ours = next(ours.in_order(8, image_size=image_size))[0].permute(0, 2, 3, 1).numpy() * 255
    pictures = [Image.fromarray(image.squeeze()) for image in images]
    method = Image.Resampling.BILINEAR
    theirs = [np.asarray(ImageOps.pad(picture, (image_size, image_size), method)) for picture in pictures]
    assert np.abs(ours - np.stack(theirs).reshape(ours.shape)).max() <= 1.001  # PIL rounds twice


@pytest.mark.parametrize("shape", [(28, 28, 1), (30, 40, 3), (64, 48, 1)])
def test_flipping_and_shifting_by_hand(shape):
    images = torch.from_numpy(some_images(4, *shape))
    flips = torch.tensor([False, True, False, True])
    shifts = torch.tensor([[0, 0, 2, -1], [0, 0, -1, 2]])  # down, to the right
    moved = flip_and_shift(images, flips, shifts, 2)
    assert torch.equal(moved[0], images[0]) and torch.equal(moved[1], images[1].flip(1))
    assert torch.equal(moved[2, 2:, :-1], images[2, :-2, 1:]) and not moved[2, :2].any() and not moved[2, :, -1].any()
    assert torch.equal(moved[3, :-1, 2:], images[3].flip(1)[1:, :-2]) and not moved[3, -1].any()


def test_images_on_a_disk_are_read_a_batch_at_a_time(tmp_path):
    """100,000 images of 4.9 GB, of which the file system keeps what was written alone."""
    np.lib.format.open_memmap(tmp_path / "images.npy", "w+", np.uint8, (100_000, 128, 128, 3))[[7, 99_999], 5] = 200
    images = np.load(tmp_path / "images.npy", mmap_mode="r")
    labels = np.arange(100_000, dtype=np.uint32).astype(np.uint16)
    recipe = dataclasses.replace(TUNED, image_size=32, batch_size=100)
    tracemalloc.start()
    found = Batches(images, labels, rows=np.arange(99_999, 0, -1), device=CPU)
    batch, classes = next(found.in_order(100, image_size=32))
    assert batch.shape == (100, 3, 32, 32) and batch[0].any() and not batch[1:].any()
    assert classes.tolist() == labels[:-101:-1].tolist()
    assert next(found.shuffled(recipe, seed=0, epoch=1, begin=5))[0].shape == (100, 3, 32, 32)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


@pytest.mark.parametrize("share", [0.4, 0.6])
def test_a_gpu_takes_all_images_where_they_fit(monkeypatch, share):
    images, rows = some_images(50, 6, 5, 3), np.arange(40, 3, -1)
    monkeypatch.setattr(batches, "IMAGES_AT_ONCE", 7)
    monkeypatch.setattr(hardware, "free_bytes", lambda _: images[rows].nbytes / share)
    found = Batches(images, np.zeros(50, np.uint8), rows=rows, device=torch.device("meta"))
    assert (found._resident is not None) == (share == 0.4)
    found = Batches(images, np.zeros(50, np.uint8), rows=rows, device=CPU)
    assert found._resident is None and torch.equal(found._copied(), torch.from_numpy(images[rows]))


def test_augmentation_fills_its_ranges_and_is_the_same_for_the_same_epoch():
    dots = np.zeros((4000, 28, 28, 1), np.uint8)
    dots[:, 10, 9] = 255  # mirrored it lies in column 18
    images = Batches(dots, np.zeros(4000, np.uint8), device=CPU)
    recipe = dataclasses.replace(SMALL, horizontal_flip=True, shift_pixels=2, batch_size=4000)
    seen = [next(images.shuffled(recipe, seed=0, epoch=epoch))[0][:, 0] for epoch in (1, 1, 2)]
    assert torch.equal(seen[0], seen[1]) and not torch.equal(seen[0], seen[2])
    places = torch.nonzero(seen[0])
    assert len(places) == 4000
    rows, columns = places[:, 1], places[:, 2]
    assert set(rows.tolist()) == set(range(8, 13)) and set(columns.tolist()) == {*range(7, 12), *range(16, 21)}
    assert 0.47 < (columns > 13).float().mean() < 0.53


def test_an_epoch_meets_every_image_once_in_another_order():
    images = Batches(some_images(100, 28, 28, 1), np.arange(100), device=CPU)
    seen = [torch.cat([labels for _, labels in images.shuffled(SMALL, seed=1, epoch=e)]).tolist() for e in (1, 2, 1)]
    assert sorted(seen[0]) == sorted(seen[1]) == list(range(100))
    assert seen[0] == seen[2] != seen[1]


def test_the_first_images_are_kept_as_the_epoch_draws_them():
    recipe = dataclasses.replace(SMALL, horizontal_flip=True, shift_pixels=3, image_size=32)
    images = Batches(some_images(100, 28, 28, 1), np.arange(100), device=CPU)
    first = images.first_of(5, recipe, seed=1, epoch=2)
    seen = 0
    for shuffled, rows in images.shuffled(recipe, seed=1, epoch=2):
        for image, row in zip(shuffled, rows.tolist(), strict=True):
            if row < 5:
                assert torch.equal(image, first[row])
                seen += 1
    assert seen == 5 and not torch.equal(first, images.first_of(5, recipe, seed=1, epoch=1))
