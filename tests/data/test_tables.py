"""Tables of images. Truths: Pillow and NumPy on what was written, scikit-learn, and sets."""

import io
import json
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from compare.data import dataset, tables
from compare.system.errors import UserError

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

RNG = np.random.default_rng(0)
NAMES = ("cat", "dog", "eft")


def png(array) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def some(number, shape=(8, 8), seed=0):
    """Images and labels; a third of the latter of each of three classes, but for what is left over."""
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (number, *shape), np.uint8), np.arange(number) % 3


def write_parquet(path, images, labels, *, names=None, as_struct=True, columns=("image", "label"), kind=None, group=7):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = [{"bytes": png(image), "path": "x.png"} if as_struct else png(image) for image in images]
    table = pyarrow.table(
        {columns[0]: values, columns[1]: pyarrow.array(list(labels), kind), "other": [1] * len(images)}
    )
    if names is not None:
        features = {columns[0]: {"_type": "Image"}, columns[1]: {"names": list(names), "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    parquet.write_table(table, path, row_group_size=group)
    return path


def write_csv(path, images, labels, *, header=True, last=False):
    pixels = images.reshape(len(images), -1)
    names = [f"pixel{number}" for number in range(pixels.shape[1])]
    cells = np.column_stack([pixels, labels] if last else [labels, pixels])
    names = [*names, "label"] if last else ["label", *names]
    lines = [",".join(map(str, row)) for row in cells]
    path.write_text("\n".join([",".join(names)] * header + lines) + "\n")
    return path


@pytest.mark.parametrize("layout", ["data/{part}-0000{n}-of-00002-c0ffee.parquet", "{part}/000{n}.parquet"])
@pytest.mark.parametrize("as_struct", [True, False])
def test_shards_of_a_data_hub(tmp_path, layout, as_struct):
    """Every image once and in order, as Pillow has it, classes by the hub's names and not by their order."""
    parts = {"train": some(40), "validation": some(10, seed=1), "test": some(20, seed=2)}
    for part, (images, labels) in parts.items():
        for n, half in enumerate(np.array_split(np.arange(len(images)), 2)):
            path = tmp_path / "hub" / layout.format(part=part, n=n)
            write_parquet(path, images[half], labels[half], names=("eft", "cat", "dog"), as_struct=as_struct)
    data = dataset.load(str(tmp_path / "hub"), image_size=8)
    assert data.class_names == ("eft", "cat", "dog") and data.name == "hub" and data.image_shape == (8, 8, 1)
    both = [np.concatenate([parts["train"][n], parts["validation"][n]]) for n in (0, 1)]
    assert np.array_equal(data.train_images[..., 0], both[0]) and np.array_equal(data.train_labels, both[1])
    assert np.array_equal(data.test_images[..., 0], parts["test"][0])
    assert np.array_equal(data.test_labels, parts["test"][1]) and data.validation_rows.tolist() == list(range(40, 50))
    assert not isinstance(data.test_images.base, np.ndarray) or isinstance(data.test_images, np.memmap)


def test_other_columns_colours_sizes_and_labels_that_are_texts(tmp_path, monkeypatch):
    images = [RNG.integers(0, 256, shape, np.uint8) for shape in [(8, 8, 3), (16, 8, 3), (8, 8)] * 6]
    names = [NAMES[number % 3] for number in range(18)]
    path = write_parquet(tmp_path / "mine.parquet", images, names, columns=("img", "fine_label"), as_struct=False)
    data = dataset.load(str(path), image_size=8, fit="pad")
    assert data.class_names == NAMES and data.image_shape == (8, 8, 3) and data.name == "mine"
    assert len(data.test_labels) == 4 and len(data.train_labels) == 14
    found = {image.tobytes(): int(label) for part in ("train", "test") for image, label in
             zip(getattr(data, f"{part}_images"), getattr(data, f"{part}_labels"), strict=True)}  # fmt: skip
    for image, name in zip(images, names, strict=True):
        by_pillow = Image.fromarray(image).convert("RGB")
        square = Image.new("RGB", (8, 8))
        small = by_pillow.resize((max(1, 64 // max(8, image.shape[0])), 8), Image.Resampling.BILINEAR)
        square.paste(small, ((8 - small.width) // 2, 0))
        assert NAMES[found[np.asarray(square).tobytes()]] == name
    # what is there is not read again, at another size it is the same data
    other = dataset.load(str(path), image_size=16)
    assert other.image_shape == (16, 16, 3) and other.fingerprint == data.fingerprint
    monkeypatch.setattr(tables, "rows", None)
    assert np.array_equal(dataset.load(str(path), image_size=8, fit="pad").train_images, data.train_images)


def test_a_fifth_is_held_out_by_class_and_copies_stay_together(tmp_path):
    images, _ = some(60)
    labels = np.repeat([0, 1, 2], [40, 15, 5])
    images[1::2] = images[::2]  # each twice
    data = dataset.load(str(write_csv(tmp_path / "mine.csv", images, labels)))
    train, test = ({image.tobytes() for image in part} for part in (data.train_images, data.test_images))
    assert not train & test and len(train) + len(test) == 30
    assert abs(np.bincount(data.test_labels, minlength=3) - [8, 3, 1]).max() <= 1


@pytest.mark.parametrize(("header", "last"), [(True, False), (True, True), (False, False)])
@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 3)])
def test_kaggles_pair(tmp_path, header, last, shape):
    train, test = some(30, shape), some(12, shape, seed=1)
    path = write_csv(tmp_path / "sign_mnist_train.csv", *train, header=header, last=last)
    write_csv(tmp_path / "sign_mnist_test.csv", *test, header=header, last=last)
    write_csv(tmp_path / "other_test.csv", *some(3))
    for name in (path, tmp_path / "sign_mnist_test.csv"):
        data = dataset.load(str(name), image_size=99)  # pixels stay as they are
        assert np.array_equal(data.train_images, train[0].reshape(30, 8, 8, -1))
        assert np.array_equal(data.train_labels, train[1]) and data.class_names == ("0", "1", "2")
        assert np.array_equal(data.test_images, test[0].reshape(12, 8, 8, -1))
        assert np.array_equal(data.test_labels, test[1])


def test_a_test_part_without_labels_is_passed_over(tmp_path, capsys):
    images, labels = some(30)
    path = write_csv(tmp_path / "train.csv", images, labels)
    (tmp_path / "test.csv").write_text("\n".join([",".join(f"pixel{n}" for n in range(64)), ",".join(["0"] * 64)]))
    data = dataset.load(str(path))
    assert len(data.test_labels) == 6 and "test.csv has no labels, and is passed over" in capsys.readouterr().err
    write_parquet(tmp_path / "hub" / "train.parquet", images, labels, names=NAMES)
    write_parquet(tmp_path / "hub" / "test.parquet", images, [-1] * 30, names=NAMES)
    data = dataset.load(str(tmp_path / "hub"), image_size=8)
    assert len(data.test_labels) == 6 and "the test part has no labels" in capsys.readouterr().err


def test_very_unequal_classes(tmp_path):
    """A class of one image stays to be trained on, and the names are as before."""
    images, labels = some(50)[0], np.array(["many"] * 47 + ["two"] * 2 + ["one"])
    data = dataset.load(str(write_parquet(tmp_path / "x.parquet", images, labels)), image_size=8)
    assert data.class_names == ("many", "one", "two") and np.bincount(data.train_labels, minlength=3).min() == 1
    assert len(data.test_labels) == 10


def csv_text(text):
    return lambda path: path.write_bytes(text)


TEN = b"".join(b"%d,%d,2,3,4\n" % (number % 2, number) for number in range(10))
WRONG = {
    "no columns": (lambda p: write_parquet(p, *some(3), columns=("a", "b")), "the columns a, b, other"),
    "numbers for images": (
        lambda p: parquet.write_table(pyarrow.table({"image": [1, 2], "label": [0, 1]}), p),
        "column image is int64",
    ),
    "paths alone": (
        lambda p: parquet.write_table(pyarrow.table({"image": [{"bytes": None, "path": "x"}], "label": [0]}), p),
        "or has rows without bytes",
    ),
    "no image": (
        lambda p: parquet.write_table(pyarrow.table({"image": [b"x"], "label": [0]}), p),
        "row 0 of train holds no image",
    ),
    "labels missing": (lambda p: write_parquet(p, some(3)[0], [0, None, 1]), "labels that are missing"),
    "labels beyond the names": (lambda p: write_parquet(p, *some(3), names=("a", "b")), "labels in 0…2, and 2 classes"),
    "negative": (lambda p: write_parquet(p, some(3)[0], [0, -1, 1]), "labels in -1…1"),
    "one class": (lambda p: write_parquet(p, some(3)[0], [0, 0, 0]), "1 classes, of 2 to 1,000"),
    "a name twice": (lambda p: write_parquet(p, *some(3), names=("a", "b", "a")), "a name of its own"),
    "a name with a line": (lambda p: write_parquet(p, some(2)[0], ["a\nb", "c"]), "without control characters"),
    "no rows": (lambda p: write_parquet(p, some(0)[0], [], kind=pyarrow.int64()), "labels of no row"),
    "cut short": (lambda p: p.write_bytes(write_parquet(p, *some(30)).read_bytes()[:-9]), "Parquet magic bytes"),
    "empty": (csv_text(b""), None),
    "csv, no square": (csv_text(b"1,2,3,4,5,6\n0,1,2,3,4,5\n"), "5 columns of pixels are no square image"),
    "csv, levels": (csv_text(TEN + b"0,1,2,3,256\n"), "256"),
    "csv, fractions": (csv_text(TEN + b"0,1.5,2,3,4\n"), "1.5"),
    "csv, two": (csv_text(b"0,1,2,3,4\n1,1,2,3,4\n"), "2 images, of which a fifth is none to test with"),
    "csv, ragged": (csv_text(b"0,1,2,3,4\n1,1,2,3\n"), "row 1 has another number of columns than 5"),
    "csv, a long line": (csv_text(b"0," * (1 << 20)), "a line of more than 1,048,576 bytes"),
    "csv, mixed labels": (csv_text(b"label,a,b,c,d\n0,1,1,1,1\ncat,1,1,1,1\n"), "numbers and texts"),
    "csv, no labels": (csv_text(b"a,b,c,d\n1,2,3,4\n"), "its lines have 4 columns"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_in_three_parts(tmp_path, case):
    make, says = WRONG[case]
    path = tmp_path / f"mine.{'csv' if case.startswith(('csv', 'empty')) else 'parquet'}"
    make(path)
    with pytest.raises(UserError) as refused:
        dataset.load(str(path), image_size=8)
    assert str(path) in refused.value.came and (says is None or says in refused.value.came)
    assert refused.value.expected in tables.EXPECTED.values() and refused.value.advice == tables.ADVICE


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("sign_mnist_train.csv", "sign_mnist"),
        ("train.csv", "here"),
        ("fashion-mnist_train.csv", "fashion-mnist_train"),
        ("Training set.csv", "set"),
    ],
)
def test_the_name_is_without_its_part(tmp_path, monkeypatch, file, name):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write_csv(tmp_path / "here" / file, *some(12))
    assert dataset.load(file).title == name
    write_parquet(tmp_path / "here" / "train-00000-of-00001.parquet", *some(12))
    assert dataset.load(".", image_size=8).title == "here" == dataset.load("train-00000-of-00001.parquet").title


def test_names_of_parts(tmp_path):
    for name in ("train-0.parquet", "loose.parquet"):
        write_parquet(tmp_path / "a" / name, *some(6))
    with pytest.raises(UserError, match="loose.parquet beside tables of train"):
        dataset.load(str(tmp_path / "a"))
    write_parquet(tmp_path / "b" / "test-0.parquet", *some(6))
    with pytest.raises(UserError, match="holds tables of test"):
        dataset.load(str(tmp_path / "b"))
    write_parquet(tmp_path / "c" / "constraint.parquet", *some(30))  # train within a word is none
    assert len(dataset.load(str(tmp_path / "c"), image_size=8).test_labels) == 6


def test_a_value_that_stands_in_many_rows_is_not_unpacked_all_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MAX_GROUP_BYTES", 20_000)
    noise = RNG.integers(0, 256, (100, 100), np.uint8)
    path = write_parquet(tmp_path / "x.parquet", [noise] * 6, [0, 1] * 3, group=6)
    rows = tables.rows(parquet.ParquetFile(path), "image", "label")
    assert len(list(rows)) == 6  # in the file once
    table = pyarrow.table(
        {"image": [png(RNG.integers(0, 256, (100, 100), np.uint8)) for _ in range(6)], "label": [0] * 6}
    )
    parquet.write_table(table, path)
    with pytest.raises(UserError, match="a group of its rows unpacks to"):
        dataset.load(str(path))


def test_memory_is_bounded(tmp_path):
    """A CSV whose pixels are 20 times what may be held of it."""
    images, labels = some(20_000, (16, 16))
    path = write_csv(tmp_path / "x.csv", images, labels)
    del images
    tracemalloc.start()
    dataset.load(str(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 12_000_000 < path.stat().st_size  # labels, hashes, and a thousand lines at a time


@pytest.mark.parametrize("kind", ["parquet", "csv"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mutated_files_are_refused_or_right(tmp_path, kind, data):
    path = tmp_path / f"mine.{kind}"
    write = write_parquet if kind == "parquet" else write_csv
    content = bytearray(write(path, *some(12)).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
        content = content or bytearray(b"x")
    path.write_bytes(content)
    try:
        found = dataset.load(str(path), image_size=8)
    except UserError as refused:
        assert str(path) in refused.came
        return
    assert found.train_images.dtype == np.uint8 and found.train_labels.max() < len(found.class_names)
    assert len(found.train_labels) + len(found.test_labels) <= 13


def test_without_pyarrow_it_is_asked_for(tmp_path):
    path = write_parquet(tmp_path / "x.parquet", *some(6))
    code = f"""
import sys
sys.modules["pyarrow"] = None
from compare.data import dataset
from compare.system.errors import UserError
try:
    dataset.load({str(path)!r})
except UserError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pyarrow is not installed" in done.stdout and "pip install pyarrow" in done.stdout, done.stderr
