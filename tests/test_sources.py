"""Images of one's own, from a folder and from an .npz file. Truths: Pillow by hand, NumPy, numbers by hand."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from compare.data import dataset, download, image_folder
from compare.data.images import label_dtype, stratified_sample
from compare.system.errors import UserError

RNG = np.random.default_rng(0)
SIDE = 16


def write(path, image, **settings):
    """An image, an array or one of Pillow's, as a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **settings)


def some(number, *shape):
    return RNG.integers(0, 256, (number, *shape), np.uint8)


def folder_of(place, images, labels, names, part=""):
    """A folder of PNGs, one for each image."""
    for row, (image, label) in enumerate(zip(images, labels, strict=True)):
        write(place / part / names[label] / f"{row:04}.png", image)
    return place


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


def decoded(tmp_path, image, *, fit="crop", size=SIDE, num_channels=3, name="x.png", **settings):
    write(tmp_path / name, image, **settings)
    return image_folder.decoded(tmp_path / name, size=size, fit=fit, num_channels=num_channels)


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
    monkeypatch.setattr(image_folder, "decoded", None)
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
    cached = download.cache_folder() / "images"
    assert not cached.exists() or {path.suffix for path in cached.iterdir()} == {".lock"}


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    folder_of(tmp_path, some(4, 8, 8), [0, 1] * 2, ("a", "b"))
    write(tmp_path / "a" / "large.png", np.zeros((35, 35), np.uint8))
    with pytest.raises(UserError, match="35×35 pixels, more than 1,000|exceeds limit"):
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


@pytest.mark.parametrize("source", ["nowhere", "notes.txt"])
def test_what_is_no_data_is_refused(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(UserError, match=f"the data {source}\n  expected: one of fashion-mnist, digits, a folder"):
        dataset.load(source)
    with pytest.raises(UserError, match="--data-dir .* with the data digits"):
        dataset.load("digits", tmp_path)
