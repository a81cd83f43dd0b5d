"""Files of a folder of images that somebody else has written, damaged in every way: refused, left out, or right."""

import io
import json
import time

import numpy as np
import pytest
from hypothesis import given
from picture_folders import contents, folder_of, some, write
from PIL import Image
from test_readers import damages, mutations, often

from compare.data import dataset, decoding, download, layouts

NUM_EXAMPLES = [pytest.param(30, id="quick"), pytest.param(2000, id="thorough", marks=pytest.mark.thorough)]
SECONDS = 20  # for any one of them
SAVED = {
    "JPEG": {"quality": 90},
    "PNG": {},
    "WEBP": {"lossless": True},
    "GIF": {"save_all": True, "append_images": [Image.new("RGB", (24, 20), "red")]},
    "BMP": {},
    "TIFF": {"compression": "tiff_lzw"},
    "PPM": {},
    "JPEG2000": {},
    "AVIF": {},
}


@pytest.mark.parametrize("num_examples", NUM_EXAMPLES)
@pytest.mark.parametrize("name", SAVED)
def test_images_mutated_at_random(name, num_examples, tmp_path, faults):
    """Each is an array of the size that was asked for, or of those that cannot be read, for a reason that can be shown,
    and no more than twice of what a whole one takes."""
    good = io.BytesIO()
    Image.fromarray(some(1, 20, 24, 3)[0]).save(good, name, **SAVED[name])
    path = tmp_path / "x"

    def read():
        decoding.look(path, str(tmp_path))
        return decoding.decoded(path, size=16, fit="crop", num_channels=3)

    @often(num_examples)
    @given(mutations(good.getvalue()))
    def check(content):
        path.write_bytes(content)
        faults.injected += 1
        start = time.monotonic()
        (got,) = decoding.in_threads(read, [()], doing="reading")
        assert time.monotonic() - start < SECONDS
        if isinstance(got, decoding.Unreadable):
            assert got.kind in decoding.Kind.__args__ and 0 < len(str(got)) <= 300
            faults.refused += 1
        else:
            assert got.shape == (16, 16, 3) and got.dtype == np.uint8
            faults.survived += 1
        assert path.read_bytes() == content

    check()


@pytest.fixture
def folder(tmp_path):
    """Forty images, and no layout by folders."""
    for row, image in enumerate(some(40, 8, 8)):
        write(tmp_path / "own" / f'{row} 鞋, "x".png', image)
    return tmp_path / "own"


def table(kind, folder):
    rows = [
        (path.name, "ab"[row % 2], "test" if row % 4 == 0 else "train") for row, path in enumerate(folder.glob("*.png"))
    ]
    if kind == "labels.csv":
        return layouts.as_table(*map(list, zip(*rows, strict=True)))
    return "".join(json.dumps(dict(zip(("file", "label", "split"), row, strict=True))) + "\n" for row in rows).encode()


@pytest.mark.parametrize("num_examples", NUM_EXAMPLES)
@pytest.mark.parametrize("kind", ["labels.csv", "metadata.jsonl"])
def test_tables_mutated_at_random(kind, num_examples, folder, faults):
    """Refused in three parts, or every image of some class; no file outside is named."""
    good = table(kind, folder)

    @often(num_examples)
    @given(mutations(good))
    def check(content):
        (folder / kind).write_bytes(content)
        faults.meets(
            lambda: layouts.layout_of(folder),
            right=lambda layout: (
                all(one.path.parent == folder or folder in one.path.resolve().parents for one in layout.files)
                and len({one.name for one in layout.files}) == len(layout.files)
                and 2 <= len(layout.class_names)
            ),
        )

    check()


@pytest.mark.parametrize("kind", ["labels.csv", "metadata.jsonl"])
def test_tables_damaged_anywhere(kind, folder, faults):
    for damaged in damages(table(kind, folder)):
        (folder / kind).write_bytes(damaged)
        faults.meets(lambda: layouts.layout_of(folder), right=lambda layout: len(layout.files) <= 40)


def test_what_is_kept_of_a_folder_damaged_anywhere(tmp_path, faults):
    """In the cache: refused by name, or the same data; the folder itself stays as it was."""
    own = folder_of(tmp_path / "own", some(20, 8, 8), [0, 1] * 10, ("a", "b"))
    (own / "a" / "bad.png").write_bytes(b"")
    whole = dataset.load(str(own), image_size=8)
    (kept,) = (download.cache_folder() / "images").glob("*/files.json")
    good, before = kept.read_bytes(), contents(own)
    for damaged in damages(good):
        kept.write_bytes(damaged)
        faults.meets(
            lambda: dataset.load(str(own), image_size=8),
            right=lambda data: (
                np.array_equal(np.sort(data.train_labels), np.sort(whole.train_labels)) or len(data.files) == 20
            ),
        )
    assert contents(own) == before


def test_a_folder_that_changes_while_it_is_read_is_refused_and_nothing_of_that_is_kept(tmp_path, monkeypatch, faults):
    own = folder_of(tmp_path / "own", some(40, 8, 8), [0, 1] * 20, ("a", "b"))
    gone, content = own / "b" / "0003.png", (own / "b" / "0003.png").read_bytes()
    look = decoding.look

    def look_and_delete(path, root):
        head = look(path, root)
        if path == gone:
            path.unlink()
        return head

    with monkeypatch.context() as changing:
        changing.setattr("compare.data.reading.look", look_and_delete)
        said = faults.meets(lambda: dataset.load(str(own), image_size=8), right=lambda _: False)
    assert "0003.png was read, and then could not be" in str(said)
    gone.write_bytes(content)
    assert len(dataset.load(str(own), image_size=8).files) == 40
