"""Images of one's own, from a folder and from an .npz file. Truths: Pillow by hand, NumPy, numbers by hand."""

import hashlib
import io
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from picture_folders import folder_of, some, write
from PIL import Image
from systems import needs_posix

from compare.data import dataset, decoding, download, reading
from compare.data.images import fingerprint, label_dtype, stratified_sample, take
from compare.system.errors import UserError

SIDE = 16


@pytest.mark.parametrize("channels", [(), (3,)])
def test_a_folder_and_an_npz_of_the_same_images_are_the_same_data(tmp_path, channels):
    names, labels = ("0", "1", "2"), np.arange(9) % 3
    train, test = some(9, SIDE, SIDE, *channels), some(6, SIDE, SIDE, *channels)
    order, test_labels = np.argsort(labels, kind="stable"), np.arange(6) % 3
    test_order = np.argsort(test_labels, kind="stable")
    folder_of(tmp_path / "images", train, labels, names, "train")
    folder_of(tmp_path / "images", test, test_labels, names, "test")
    np.savez(
        tmp_path / "same.npz",
        x_train=train[order],
        y_train=labels[order][:, np.newaxis],
        x_test=test[test_order],
        y_test=test_labels[test_order],
    )
    one = dataset.load(str(tmp_path / "images"), image_size=SIDE)
    other = dataset.load(str(tmp_path / "same.npz"))
    for data in (one, other):
        assert data.image_shape == (SIDE, SIDE, 3 if channels else 1) and data.class_names == names
        assert np.array_equal(data.train_images.reshape(train.shape), train[order])
        assert np.array_equal(data.test_images.reshape(test.shape), test[test_order])
        assert data.train_labels.dtype == np.uint8 and np.array_equal(data.train_labels, labels[order])
        assert np.array_equal(data.test_labels, test_labels[test_order])
    assert (one.name, other.name) == ("images", "same")


def test_classes_go_by_name_and_one_may_be_absent_from_the_test(tmp_path):
    names = ("ant", "bee", "cat")
    folder_of(tmp_path, some(6, 8, 8), [0, 0, 1, 1, 2, 2], names, "train")
    folder_of(tmp_path, some(2, 8, 8), [2, 0], names, "test")
    data = dataset.load(str(tmp_path), image_size=8)
    assert data.class_names == names and data.test_labels.tolist() == [0, 2]
    folder_of(tmp_path, some(1, 8, 8), [0], ("dog",), "test")
    with pytest.raises(UserError, match=r"holds the classes 'dog'\n  expected: the classes to train on: ant, bee, cat"):
        dataset.load(str(tmp_path), image_size=8)


def test_without_a_split_a_fifth_of_every_class_is_held_out(tmp_path):
    labels = np.repeat([0, 1], [30, 20])
    folder_of(tmp_path, some(50, 4, 4), labels, ("a", "b"))
    data = dataset.load(str(tmp_path), image_size=4)
    assert np.bincount(data.test_labels).tolist() == [6, 4] and np.bincount(data.train_labels).tolist() == [24, 16]
    assert np.array_equal(data.test_images, dataset.load(str(tmp_path), image_size=4).test_images)


def test_what_systems_leave_and_what_is_no_image_is_passed_over(tmp_path):
    folder_of(tmp_path, some(10, 4, 4), [0, 1] * 5, ("a", "b"))
    for name in (".ipynb_checkpoints/x.png", "__MACOSX/a/x.png", "a/.hidden.png", "a/Thumbs.db", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(b"no image")
    write(tmp_path / "a" / "below" / "deeper" / "x.PNG", some(1, 4, 4)[0])
    data = dataset.load(str(tmp_path), image_size=4)
    assert data.class_names == ("a", "b") and len(data.train_labels) + len(data.test_labels) == 11


def test_files_beside_the_images_are_counted_and_passed_over_but_not_what_is_called_an_image(tmp_path):
    """As sounds, texts and drawings beside each picture of a program's collection; a picture by any name is one."""
    folder_of(tmp_path, some(40, 4, 4), [0, 1] * 20, ("a", "b"))
    for name in ("1.ogg", "2.OGG", "3.dat", "none", "zero.bin"):
        (tmp_path / "a" / name).write_bytes(b"" if name == "zero.bin" else b"no image")
    data = dataset.load(str(tmp_path), image_size=4, unreadable="refuse")
    assert len(data.train_labels) + len(data.test_labels) == 40 and data.unreadable == {}
    assert "5 other files are passed over (.ogg 2, .bin 1, .dat 1, none 1)" in data.summary[-1]

    buffer = io.BytesIO()
    Image.fromarray(some(1, 5, 5)[0]).save(buffer, "png")
    (tmp_path / "a" / "image.png?size=200").write_bytes(buffer.getvalue())
    for name in ("drawing.svg", "photograph.HEIC", "text.jpg"):
        (tmp_path / "b" / name).write_bytes(b"no image")
    with pytest.raises(UserError, match="3 of 44 files cannot be read as images"):
        dataset.load(str(tmp_path), image_size=4)


def decoded(tmp_path, image, *, fit="crop", size=SIDE, num_channels=3, name="x.png", **settings):
    write(tmp_path / name, image, **settings)
    return decoding.decoded(tmp_path / name, size=size, fit=fit, num_channels=num_channels)


def test_modes_by_hand(tmp_path):
    """Sixteen bits are divided by 257, what is transparent lies on white, palettes and CMYK are colours."""
    deep = np.array([[0, 257, 25700, 65535]] * 4, np.uint16)
    assert np.array_equal(decoded(tmp_path, Image.fromarray(deep), size=4, num_channels=1)[0, :, 0], [0, 1, 100, 255])
    clear = np.zeros((4, 4, 4), np.uint8)
    clear[:, :2] = 10, 20, 30, 255
    clear[:, 2:] = 10, 20, 30, 0  # a colour that is not seen
    assert decoded(tmp_path, clear, size=4)[0].tolist() == [[10, 20, 30]] * 2 + [[255] * 3] * 2
    red = Image.new("RGB", (4, 4), (255, 0, 0))
    for other in (red.convert("P"), red.convert("CMYK")):
        assert (decoded(tmp_path, other, size=4, name="x.tif") == (255, 0, 0)).all()
    half = Image.fromarray(np.full((4, 4), 200, np.uint8)).convert("LA")
    half.putalpha(128)
    grey = decoded(tmp_path, half, size=4, num_channels=1)
    assert abs(int(grey[0, 0, 0]) - (200 * 128 + 255 * 127) / 255) <= 1


def test_a_camera_held_sideways_is_turned(tmp_path):
    upright = np.zeros((8, 8, 3), np.uint8)
    upright[:4] = 250
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    turned = decoded(tmp_path, np.rot90(upright), size=8, exif=exif)
    assert np.array_equal(turned, upright)


def test_squares_by_the_middle_or_whole_on_black(tmp_path):
    wide = np.full((16, 32, 3), 7, np.uint8)
    wide[:, 8:24] = 200
    assert (decoded(tmp_path, wide) == 200).all()
    whole = decoded(tmp_path, wide, fit="pad")
    assert not whole[:4].any() and not whole[12:].any() and whole[4:12].min() >= 7
    small = Image.fromarray(wide).resize((16, 8), Image.Resampling.BILINEAR)
    assert np.array_equal(whole[4:12], np.asarray(small))


def test_a_large_jpeg_is_near_what_pillow_gives_without_its_shortcut(tmp_path):
    y, x = np.mgrid[0:512, 0:512]
    photo = np.stack([128 + 100 * np.sin(x / 40), 128 + 100 * np.cos(y / 60), (x + y) / 4], axis=2).astype(np.uint8)
    ours = decoded(tmp_path, photo, name="x.jpg", size=64, quality=95)
    with Image.open(tmp_path / "x.jpg") as image:
        theirs = np.asarray(image.convert("RGB").resize((64, 64), Image.Resampling.BILINEAR))
    assert np.abs(ours.astype(float) - theirs).mean() < 1.5


def test_a_second_load_decodes_nothing_and_other_bytes_are_other_data(tmp_path, monkeypatch):
    place = folder_of(tmp_path / "own", some(10, 8, 8), [0, 1] * 5, ("a", "b"))
    before = {path: path.read_bytes() for path in place.rglob("*.png")}
    first = dataset.load(str(place), image_size=8)
    monkeypatch.setattr(reading, "whole", None)
    again = dataset.load(str(place), image_size=8)
    assert isinstance(again.train_images, np.memmap) and np.array_equal(first.train_images, again.train_images)
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before
    monkeypatch.undo()
    other_size = dataset.load(str(place), image_size=4)
    assert other_size.fingerprint == first.fingerprint and other_size.image_shape == (4, 4, 1)
    write(place / "a" / "0000.png", some(1, 8, 8)[0])
    assert dataset.load(str(place), image_size=8).fingerprint != first.fingerprint


@pytest.mark.parametrize(
    ("content", "says"), [(b"\x89PNG\r\n\x1a\n", "1 of 11 files cannot be read as images"), (None, "truncated")]
)
def test_files_that_are_no_images_are_named(tmp_path, content, says):
    folder_of(tmp_path, some(10, 32, 32), [0, 1] * 5, ("a", "b"))
    whole = io.BytesIO()
    Image.fromarray(some(1, 32, 32)[0]).save(whole, "PNG")
    (tmp_path / "a" / "bad.png").write_bytes(content or whole.getvalue()[:500])
    with pytest.raises(UserError, match=says) as refused:
        dataset.load(str(tmp_path), image_size=8)
    assert "bad.png" in str(refused.value) and "\n  what to do: " in str(refused.value)
    with pytest.raises(UserError, match=says):  # where it was decoded, what was kept says the same
        dataset.load(str(tmp_path), image_size=8)


@pytest.mark.parametrize("side", [35, 50])  # of the former Pillow warns, and it refuses the latter by itself
def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch, side):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    folder_of(tmp_path, some(4, 8, 8), [0, 1] * 2, ("a", "b"))
    write(tmp_path / "a" / "large.png", np.zeros((side, side), np.uint8))
    with pytest.raises(UserError, match="more than 1,000 pixels"):
        dataset.load(str(tmp_path), image_size=8)


def test_copies_of_a_file_are_not_held_out_from_each_other(tmp_path):
    images = some(20, 8, 8)
    copied = np.concatenate([images, images[:10]])
    data = dataset.load(str(folder_of(tmp_path, copied, np.arange(30) % 2, ("a", "b"))), image_size=8)
    train, test = ({image.tobytes() for image in part} for part in (data.train_images, data.test_images))
    assert len(train) == 16 and len(test) == 4 and not train & test
    assert len(data.train_images) + len(data.test_images) == 30


def test_copies_in_two_classes_are_named(tmp_path):
    images = some(6, 8, 8)
    folder_of(tmp_path, images, [0, 0, 0, 1, 1, 1], ("a", "b"), "train")
    folder_of(tmp_path, some(4, 8, 8), [0, 1] * 2, ("a", "b"), "test")
    assert "warning" not in "\n".join(dataset.load(str(tmp_path), image_size=8).summary)
    write(tmp_path / "train" / "b" / "copy.bmp", images[1])  # other bytes, the same pixels
    said = "\n".join([*dataset.load(str(tmp_path), image_size=8).summary, ""])
    assert "1 image twice, in two classes, so one of their labels is wrong:\n    " in said
    assert "    train/a/0001.png and train/b/copy.bmp\n" in said
    for number in range(9):
        write(tmp_path / "train" / "b" / f"more-{number}.png", images[1])
    said = "\n".join([*dataset.load(str(tmp_path), image_size=8).summary, ""])
    assert "10 images twice, in two classes" in said and "more-3.png;\n    …\n" in said and "more-4.png" not in said


@pytest.mark.parametrize("part", ["", "train", "test"])
def test_images_that_belong_to_no_class_are_not_lost_in_silence(tmp_path, part):
    folder_of(tmp_path, some(20, 8, 8), np.arange(20) % 2, ("a", "b"), part and "train")
    folder_of(tmp_path, some(2, 8, 8), [0, 1], ("a", "b"), part and "test")
    (tmp_path / part / "README").write_text("what these are")
    write(tmp_path / part / "loose.JPG", some(1, 8, 8)[0])
    with pytest.raises(UserError, match=r"holds images \(1\) beside the folders of the classes: loose.JPG"):
        dataset.load(str(tmp_path), image_size=8)


def test_medmnists_own_validation_images_are_the_validation_split(tmp_path):
    path = tmp_path / "medmnist.npz"
    parts = {"train": some(20, 28, 28), "val": some(5, 28, 28), "test": some(6, 28, 28)}
    labels = {name: (np.arange(len(images)) % 2)[:, np.newaxis] for name, images in parts.items()}
    arrays = {f"{name}_images": images for name, images in parts.items()}
    np.savez_compressed(path, **arrays, **{f"{name}_labels": of for name, of in labels.items()})
    data = dataset.load(str(path))
    train, validation = dataset.train_and_validation(data, 0.1)
    assert np.array_equal(data.train_images[validation][..., 0], parts["val"])
    assert np.array_equal(data.train_images[train][..., 0], parts["train"])
    assert [len(part) for part in dataset.train_and_validation(data, 0.0)] == [20, 0]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"x_test": None}, "no images and labels under these names"),
        ({"x_train": np.zeros((4, 8, 8), np.float32)}, r"x_train is float32 \(4, 8, 8, 1\)"),
        ({"x_train": np.zeros((4, 8, 8, 2), np.uint8)}, r"x_train is uint8 \(4, 8, 8, 2\)"),
        ({"y_train": np.zeros((4, 2), int)}, r"y_train is int64 \(4, 2\)"),
        ({"y_train": np.array([0, -1, 0, 1])}, "numbers in -1…1"),
        ({"y_train": np.array([0, 1, 0, 1000])}, "numbers in 0…1000, not in 0…999"),
        ({"y_train": np.zeros(4, int), "y_test": np.zeros(2, int)}, "every label is 0"),
        ({"x_test": np.zeros((2, 9, 8), np.uint8)}, "images are of several sizes"),
        ({"y_train": np.array([object()] * 4)}, "Python objects"),
    ],
)
def test_an_npz_that_is_none_is_refused_in_three_parts(tmp_path, changes, says):
    arrays = {"x_train": some(4, 8, 8), "y_train": [0, 1, 0, 1], "x_test": some(2, 8, 8), "y_test": [0, 1]} | changes
    np.savez(tmp_path / "a.npz", **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(UserError, match=says) as refused:
        dataset.load(str(tmp_path / "a.npz"))
    assert "\n  expected: " in str(refused.value) and "\n  what to do: " in str(refused.value)


def test_a_file_that_is_no_archive_is_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK no")
    with pytest.raises(UserError, match="a.npz: "):
        dataset.load(str(tmp_path / "a.npz"))
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("../x_train.npy", b"")
    with pytest.raises(UserError, match="no images and labels"):
        dataset.load(str(tmp_path / "b.npz"))


def test_labels_are_as_wide_as_the_classes_need(tmp_path):
    assert [label_dtype(number) for number in (2, 256, 257, 1000)] == [np.uint8, np.uint8, np.uint16, np.uint16]
    labels = np.arange(600) % 300
    np.savez(tmp_path / "a.npz", x_train=some(600, 2, 2), y_train=labels, x_test=some(300, 2, 2), y_test=labels[:300])
    data = dataset.load(str(tmp_path / "a.npz"))
    assert data.train_labels.dtype == np.uint16 and data.train_labels.max() == 299 and len(data.class_names) == 300


def test_a_split_of_few_images_of_many_classes():
    labels = np.arange(90) % 30  # three of each: a tenth is fewer than there are classes
    train, validation = dataset.split(labels, 0.1)
    assert len(validation) == 9 and len(set(labels[validation])) == 9
    assert np.array_equal(np.sort([*train, *validation]), np.arange(90))
    assert np.array_equal(stratified_sample(labels, 30, seed=1), np.sort(stratified_sample(labels, 30, seed=1)))
    assert set(np.bincount(labels[stratified_sample(labels, 30, seed=1)])) == {1}


@pytest.mark.parametrize(
    ("source", "why"), [("nowhere", "no such name, folder or file"), ("notes.txt", "a file of another kind")]
)
def test_what_is_no_data_is_refused(tmp_path, monkeypatch, source, why):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(
        UserError, match=f"the data {source}: {why}\n  expected: one of fashion-mnist, digits, a folder"
    ):
        dataset.load(source)
    with pytest.raises(UserError, match="--data-dir .* with the data digits"):
        dataset.load("digits", tmp_path)


@pytest.mark.parametrize(
    ("folders", "counts"),
    [
        ({"train": 10, "test": 4}, (10, 0, 4)),
        ({"Training": 10, "Testing": 4}, (10, 0, 4)),
        ({"train": 10, "valid": 6, "test": 4}, (10, 6, 4)),
        ({"train": 10, "dev": 6}, (8, 6, 2)),  # images that a recipe is chosen by test nothing
        ({"train": 10}, (8, 0, 2)),
        ({"train": 10, "test": 4, "unlabelled": 3}, (10, 0, 4)),
    ],
)
def test_parts_go_by_their_usual_names(tmp_path, folders, counts):
    for part, number in folders.items():
        folder_of(tmp_path, some(number, 4, 4), np.arange(number) % 2, ("a", "b"), part)
    data = dataset.load(str(tmp_path), image_size=4)
    train, validation = dataset.train_and_validation(data, 0.0 if counts[1] == 0 else 0.1)
    assert (len(train), len(validation), len(data.test_labels)) == counts and data.class_names == ("a", "b")
    if counts[1]:
        assert validation.tolist() == list(range(counts[0], counts[0] + counts[1]))
        assert data.train_labels[validation].tolist() == [0, 0, 0, 1, 1, 1]


def test_a_train_may_be_what_is_to_be_recognised(tmp_path):
    folder_of(tmp_path, some(30, 4, 4), np.arange(30) % 3, ("bus", "car", "train"))
    assert dataset.load(str(tmp_path), image_size=4).class_names == ("bus", "car", "train")


@pytest.mark.parametrize(
    ("folders", "says"),
    [
        (["a/x"], "holds 1 folder\n"),
        (["train/a", "train/b", "test/a", "testing/a"], "holds test and testing\n  expected: one folder for test"),
        (["a", "b", "c/below"], "c holds no images\n  expected: some to train on in the folder of every class"),
        (["a", "b\x07"], "names of classes without control characters"),
        (["a", "b" * 220], "200 characters at most"),
    ],
)
def test_a_folder_that_is_none_of_classes_is_refused(tmp_path, folders, says):
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
        if folder != "c/below":
            write(tmp_path / folder / "x.png", some(1, 4, 4)[0])
    with pytest.raises(UserError, match=says):
        dataset.load(str(tmp_path), image_size=4)


def test_classes_with_few_images_keep_them_to_train_on(tmp_path):
    folder_of(tmp_path, some(23, 4, 4), [0] * 20 + [1, 1] + [2], ("many", "two", "one"))
    data = dataset.load(str(tmp_path), image_size=4)
    assert data.class_names == ("many", "one", "two")
    assert np.bincount(data.train_labels).min() >= 1 and len(data.test_labels) == 5  # a fifth, rounded


@needs_posix
def test_names_of_any_script_and_links(tmp_path):
    names = ("l'été 'quoted\"", "女装 鞋", "حذاء", "👟")
    folder_of(tmp_path / "v3", some(8, 4, 4), np.arange(8) % 4, names)
    link = tmp_path / "shoes of mine"
    link.symlink_to(tmp_path / "v3")
    (tmp_path / "v3" / names[0] / "back").symlink_to(tmp_path / "v3")  # followed, there would be no end
    (tmp_path / "v3" / names[0] / "too").symlink_to(tmp_path / "v3")
    data = dataset.load(str(link), image_size=4)
    assert data.class_names == tuple(sorted(names)) and data.name == "shoes of mine"
    assert len(data.train_labels) + len(data.test_labels) == 8


@pytest.mark.parametrize("number", range(1, 9))
def test_every_way_to_hold_a_camera(tmp_path, number):
    """The tag tells how rows and columns of the file lie in the scene (EXIF 2.3, 4.6.4): the scene, brought to a file
    by NumPy so that it lies as the tag says, comes back."""
    scene = np.zeros((8, 8, 3), np.uint8)
    scene[:4], scene[:, :3] = (200, 0, 0), (0, 0, 200)
    files = [
        *(scene, scene[:, ::-1], scene[::-1, ::-1], scene[::-1]),
        *(scene.transpose(1, 0, 2), np.rot90(scene), scene[::-1, ::-1].transpose(1, 0, 2), np.rot90(scene, -1)),
    ]
    exif = Image.Exif()
    exif[0x0112] = number
    turned = decoded(tmp_path, np.ascontiguousarray(files[number - 1]), size=8, exif=exif)
    assert np.array_equal(turned, scene)


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (12000, 3)])
@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_thin_images_have_at_least_a_line(tmp_path, size, fit):
    thin = decoded(tmp_path, Image.new("RGB", size, (9, 8, 7)), fit=fit)
    assert thin.shape == (SIDE, SIDE, 3) and (thin == (9, 8, 7)).all(axis=2).any()


@needs_posix
@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("x.heic", b"\0\0\0\x18ftypheic", "x.heic: it is none of JPEG, PNG"),
        ("x.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "x.eps: it is none of JPEG, PNG"),
        ("x.jpg", b"", "x.jpg: it is empty"),
        ("x.jpg", b"a text", "x.jpg: it is none of"),
        ("a pipe.png", None, "a pipe.png: it is not a file"),
        ("a link.png", "gone.png", "a link.png: it is a link that leads nowhere"),
    ],
)
def test_no_image_is_lost_in_silence_and_no_program_is_run(tmp_path, name, content, says):
    folder_of(tmp_path, some(4, 8, 8), [0, 1] * 2, ("a", "b"))
    if content is None:
        os.mkfifo(tmp_path / "a" / name)
    elif isinstance(content, str):
        (tmp_path / "a" / name).symlink_to(content)
    else:
        (tmp_path / "a" / name).write_bytes(content)
    with pytest.raises(UserError, match=says):
        dataset.load(str(tmp_path), image_size=8)


def test_numbers_without_a_range_are_no_grey(tmp_path):
    for array in (np.full((4, 4), 0.5, np.float32), np.full((4, 4), 70_000, np.int32), np.full((4, 4), -1, np.int32)):
        with pytest.raises(ValueError, match="numbers of no stated range"):
            decoded(tmp_path, Image.fromarray(array), name="x.tif")


def test_a_file_in_the_cache_that_was_cut_short_is_refused_by_name(tmp_path):
    folder_of(tmp_path, some(10, 8, 8), [0, 1] * 5, ("a", "b"))
    dataset.load(str(tmp_path), image_size=8)
    (kept,) = (download.cache_folder() / "images").glob("*/images.npy")
    kept.write_bytes(kept.read_bytes()[:-1])
    with pytest.raises(UserError, match=f"{kept.name}: (?s:.*)what to do: delete that file"):
        dataset.load(str(tmp_path), image_size=8)


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    folder_of(tmp_path / "own", some(4, 8, 8), [0, 1] * 2, ("a", "b"))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match="could not be written (?s:.*)set XDG_CACHE_HOME"):
        dataset.load(str(tmp_path / "own"), image_size=8)


def test_processes_that_begin_at_once_decode_and_unpack_once(tmp_path):
    folder_of(tmp_path / "own", some(40, 8, 8), [0, 1] * 20, ("a", "b"))
    np.savez(tmp_path / "a.npz", x_train=some(4, 8, 8), y_train=[0, 1] * 2, x_test=some(2, 8, 8), y_test=[0, 1])
    code = "import sys; from compare.data import dataset; print([dataset.load(it).fingerprint for it in sys.argv[1:]])"
    command = [sys.executable, "-c", code, str(tmp_path / "own"), str(tmp_path / "a.npz")]
    several = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    said = [process.communicate() for process in several]
    assert len({out for out, _ in said}) == 1, said
    told = "decoding 40 images to 64×64 pixels, once: later runs find them\n"
    assert sorted(error for _, error in said) == ["", "", told], said  # one does it, and says so
    left = [path for path in download.cache_folder().rglob("*") if path.name.startswith(".partial")]
    assert not left and len(list((download.cache_folder() / "images").rglob("*.npy"))) == 1


def test_in_a_terminal_a_bar_tells_how_far_the_reading_and_the_decoding_are(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")  # by which rich takes what pytest reads for a terminal
    folder_of(tmp_path, some(10, 8, 8), [0, 1] * 5, ("a", "b"))
    dataset.load(str(tmp_path), image_size=8)
    said = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().err)
    assert re.search("reading images .* 10/10", said) and re.search("decoding images .* 10/10", said)


@pytest.mark.parametrize("damage", ["bytes", "method", "shape"])
def test_a_damaged_npz_is_refused(tmp_path, damage):
    path = tmp_path / "a.npz"
    arrays = {"x_train": some(40, 8, 8), "y_train": [0, 1] * 20, "x_test": some(2, 8, 8), "y_test": [0, 1]}
    np.savez_compressed(path, **arrays)
    if damage == "bytes":
        content = bytearray(path.read_bytes())
        content[300:330] = b"\xff" * 30
        path.write_bytes(content)
    else:
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        if damage == "shape":
            members["x_train.npy"] = members["x_train.npy"].replace(b"(40, 8, 8)", b"(40, 8, 9)")
        with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA if damage == "method" else zipfile.ZIP_STORED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
    with pytest.raises(UserError, match="a.npz: (?s:.*)\n  expected: images uint8"):
        dataset.load(str(path))
    assert not [path for path in download.cache_folder().rglob("*") if path.name.startswith(".partial")]


def test_labels_too_large_for_a_signed_number_are_refused(tmp_path):
    labels = np.array([0, 1, 2, 2**64 - 1], np.uint64)
    np.savez(tmp_path / "a.npz", x_train=some(4, 8, 8), y_train=labels, x_test=some(2, 8, 8), y_test=[0, 1])
    with pytest.raises(UserError, match="numbers in 0…18446744073709551615"):
        dataset.load(str(tmp_path / "a.npz"))


@pytest.mark.parametrize("source", ["a" * 5000, "a\0b.npz"])
def test_words_that_no_path_can_be_are_refused(source):
    with pytest.raises(UserError, match="the data a"):
        dataset.load(source)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_what_is_read_of_a_file_does_not_stay_in_memory(tmp_path):
    """Nor does it of a part of it, turned round; the hash is that of the whole, and what was written into is kept."""
    content = some(3000, 100, 100, 3)  # 90 MB
    np.save(tmp_path / "a.npy", content)
    code = f"""if True:
        import numpy as np
        from compare.data.images import fingerprint, take
        def resident():
            lines = open("/proc/self/status").read().splitlines()
            return int(next(line for line in lines if line.startswith("RssFile")).split()[1]) * 1024
        images = np.load({str(tmp_path / "a.npy")!r}, mmap_mode="r")
        before = resident()
        sha256 = fingerprint(images)
        for row in range(2990):
            take(images[5:][::-1], np.arange(row, row + 5))
        print(sha256, resident() - before)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    sha256, num_bytes = done.stdout.split()
    assert sha256 == fingerprint(content) and int(num_bytes) < 20e6
    own = np.load(tmp_path / "a.npy", mmap_mode="c")
    own[7] = 1
    assert (take(own, np.arange(7, 8)) == 1).all() and (own[7] == 1).all()
    assert fingerprint(np.asfortranarray(content)) == fingerprint(content)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_no_more_is_read_of_a_file_than_is_taken(tmp_path):
    """The system reads 128 KB, or megabytes, around what it is not told of. The file is not in memory."""
    content = some(3000, 100, 100, 3)  # 90 MB
    np.save(tmp_path / "a.npy", content)
    with (tmp_path / "a.npy").open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def num_bytes_read():
        return int(re.search(r"^read_bytes: (\d+)", Path("/proc/self/io").read_text(), re.MULTILINE)[1])

    images, rows = np.load(tmp_path / "a.npy", mmap_mode="r"), np.random.default_rng(0).permutation(3000)[:100]
    before = num_bytes_read()
    assert (take(images[::-1], rows) == content[::-1][rows]).all()
    assert num_bytes_read() - before < 2 * 100 * content[0].nbytes


def test_a_fingerprint_is_the_sha256_of_type_shape_and_bytes(monkeypatch):
    arrays = [some(7, 3, 4, 1), np.array(3.5), np.zeros((0, 4), np.float32), np.arange(5, dtype=np.uint16)]
    whole = hashlib.sha256()
    for array, shape in zip(arrays, [(7, 3, 4), (), (0, 4), (5,)], strict=True):
        whole.update(f"{array.dtype.str}{shape}".encode() + array.tobytes())
    assert fingerprint(*arrays) == whole.hexdigest()
    monkeypatch.setattr("compare.data.images.HASHED_BYTES", 25)
    assert fingerprint(*arrays) == whole.hexdigest()
