"""Folders of images in any usual layout, with everything in them that goes wrong. Truths: Pillow by hand, sets,
scikit-learn, and numbers by hand."""

import csv
import io
import json
import os
import re

import numpy as np
import pytest
from picture_folders import HOSTILE, contents, folder_of, people, some, traps, write
from PIL import Image
from sklearn.model_selection import StratifiedGroupKFold

from compare.data import dataset, decoding, download, layouts, reading, sides
from compare.system.errors import UserError


def loaded(folder, **words):
    return dataset.load(str(folder), image_size=8, **words)


# ---- layouts


def table_of(folder, rows, name="labels.csv", columns=("file_name", "label", "split")):
    if name.endswith(".jsonl"):
        text = "".join(json.dumps(dict(zip(columns, row, strict=False))) + "\n" for row in rows)
    else:
        written = io.StringIO()
        csv.writer(written).writerows([columns[: len(rows[0])], *rows])
        text = written.getvalue()
    (folder / name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("labels.csv", ("file_name", "label", "split")),
        ("metadata.csv", ("Image", "Category", "Fold")),
        ("metadata.jsonl", ("path", "target", "subset")),
        ("labels.csv", ("filename", "class", "part")),
    ],
)
def test_a_table_says_which_class_and_side_an_image_is_of(tmp_path, name, columns):
    images = some(6, 8, 8)
    for row, image in enumerate(images):
        write(tmp_path / "pictures" / f"{row}.png", image)
    sides = ["Train", "test", "train", "valid", "training", "TEST"]
    labels = ["9", "10", "10", "9", "9", "9"]  # by name: 10 before 9
    table_of(tmp_path, [(f"pictures/{row}.png", labels[row], sides[row]) for row in range(6)], name, columns)
    data = loaded(tmp_path)
    assert data.class_names == ("10", "9")
    assert np.array_equal(data.train_images[..., 0], images[[0, 2, 3, 4]]) and data.train_labels.tolist() == [
        1,
        0,
        1,
        1,
    ]
    assert np.array_equal(data.test_images[..., 0], images[[1, 5]]) and data.test_labels.tolist() == [0, 1]
    assert data.validation_rows.tolist() == [2]
    assert data.files == tuple(f"pictures/{row}.png" for row in (0, 2, 3, 4, 1, 5))


def test_a_table_without_sides_has_a_fifth_held_out(tmp_path):
    images = some(30, 8, 8)
    folder_of(tmp_path, images, [0] * 30, ("all",))
    table_of(tmp_path, [(f"./all/{row:04}.png", row % 3) for row in range(30)], "metadata.jsonl")
    data = loaded(tmp_path)
    assert data.class_names == ("0", "1", "2") and np.bincount(data.test_labels).tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([("a.png", "x", "train"), ("../a.png", "y", "test")], r"line 3 names ../a.png, which is not in the folder"),
        ([("/etc/passwd", "x", "train")], "line 2 names /etc/passwd, which is not in the folder"),
        ([("a.png", "x", "train"), ("./a.png", "y", "test")], "line 3 names a.png once more"),
        ([("a.png", "x", "train"), ("b.png", "y", "holdout")], "line 3 has 'holdout' as its split"),
        ([("a.png", "x", "train"), ("b.png", "", "train")], "line 3 has '' as its label"),
        ([("a.png", "x", "train"), ("b.png", "y", "test")], "lists 1 class to train on"),
        ([("a.png", "x", "train"), ("b.png", "y", "train"), ("c.png", "z", "test")], "lists the classes 'z' on other"),
        ([("a.png", "x\x07", "train"), ("b.png", "y", "train")], r"lists a class called 'x\\\\x07'"),
        ([(f"{row}.png", row, "train") for row in range(10_000)], "lists 10,000 classes to train on"),
    ],
)
def test_a_table_that_is_wrong_is_refused_by_its_line(tmp_path, rows, says):
    write(tmp_path / "a.png", some(1, 8, 8)[0])
    table_of(tmp_path, rows)
    with pytest.raises(UserError, match=says) as refused:
        loaded(tmp_path)
    assert "\n  expected: " in str(refused.value) and "\n  what to do: " in str(refused.value)


def test_where_several_layouts_fit_it_is_asked_which(tmp_path):
    folder_of(tmp_path, some(20, 8, 8), [0, 1] * 10, ("a", "b"))
    (tmp_path / "metadata.csv").write_text("id,width\n1,2\n")  # tells of no labels: by the folders
    assert loaded(tmp_path).class_names == ("a", "b")
    rows = [(f"{'ab'[row % 2]}/{row:04}.png", "cd"[row % 2]) for row in range(20)]
    table_of(tmp_path, rows, "labels.csv")
    with pytest.raises(
        UserError, match=r"holds labels.csv, which lists files and labels, and folders as of classes: a, b"
    ):
        loaded(tmp_path)
    assert loaded(tmp_path, split=tmp_path / "labels.csv").class_names == ("c", "d")
    table_of(tmp_path, rows, "metadata.jsonl")
    with pytest.raises(UserError, match=f"labels.csv and metadata.jsonl, each (?s:.*)--split {tmp_path}/labels.csv"):
        loaded(tmp_path)


def test_a_table_without_its_columns_says_which_are_missing(tmp_path):
    write(tmp_path / "1.png", some(1, 8, 8)[0])
    (tmp_path / "labels.csv").write_text("id,breed\n1,x\n")
    with pytest.raises(UserError, match=r"it has the columns id, breed(?s:.*)file_name, filename.*label, class"):
        loaded(tmp_path)


def test_ten_thousand_classes_are_refused_by_number(tmp_path):
    for number in range(10_000):
        (tmp_path / f"{number}").mkdir()
    with pytest.raises(UserError, match="holds 10,000 folders\n  expected: one for each class, 2 to 1,000"):
        loaded(tmp_path)


# ---- the split, given back


@pytest.mark.parametrize("parts", [("",), ("train", "test"), ("train", "val", "test"), ("train", "valid")])
def test_the_table_that_is_written_gives_the_same_again(tmp_path, parts):
    for part in parts:
        for row, name in enumerate(HOSTILE * 3):
            write(tmp_path / "own" / part / "ab"[row % 2] / f"{row} {name}", some(1, 8, 8)[0])
    first = loaded(tmp_path / "own")
    sides = ["train"] * len(first.train_labels) + ["test"] * len(first.test_labels)
    for row in first.validation_rows if first.validation_rows is not None else ():
        sides[row] = "validation"
    labels = ["ab"[label] for label in [*first.train_labels, *first.test_labels]]
    (tmp_path / "split.csv").write_bytes(layouts.as_table(list(first.files), labels, sides))
    again = loaded(tmp_path / "own", split=tmp_path / "split.csv")
    assert again.fingerprint == first.fingerprint and again.files == first.files
    assert np.array_equal(again.train_images, first.train_images)
    assert np.array_equal(again.validation_rows, first.validation_rows) or first.validation_rows is None


# ---- what cannot be read


def test_every_trap_is_read_right_or_named(tmp_path):
    folder = tmp_path / "own"
    found = traps(folder)
    before = contents(folder)
    data = loaded(folder)
    said = "\n".join(data.summary)
    assert data.unreadable == {"damaged": 1, "empty": 1, "no image": 1, "outside": 1}
    bad = {name for name, why in found.items() if why}
    assert set(data.files) == {f"{'ab'[row % 2]}/{row:04}.png" for row in range(60)} | (found.keys() - bad) | {
        "b/inside.png"
    }
    assert "warning: 4 files in " in said and all(os.path.basename(name) in said for name in bad)
    rows = dict(zip(data.files, np.concatenate([data.train_images, data.test_images]), strict=True))
    for name in data.files:  # by hand, another way than ours where there is one
        with Image.open(folder / name) as image:
            if image.mode == "I;16":
                right = np.repeat((np.asarray(image) // 257)[..., np.newaxis], 3, axis=2).astype(np.uint8)
            elif image.mode == "RGBA":
                pixels = np.asarray(image, np.float64)
                alpha = pixels[..., 3:] / 255
                right = np.rint(pixels[..., :3] * alpha + 255 * (1 - alpha))
            elif image.size == (8, 8):
                right = np.asarray(image.convert("RGB"))
            else:
                continue
        assert np.abs(rows[name].astype(float) - right).max() <= 1, name
    assert (rows["a/dot.png"] == np.asarray(Image.open(folder / "a/dot.png"))[0, 0]).all()
    assert contents(folder) == before
    assert "\x1b" not in said and not re.search("[\ud800-\udfff]", said)
    # copies of one file on one side, whichever of them was drawn
    tested = set(data.files[len(data.train_labels) :])
    assert len({"a/dot.png", "b/inside.png"} & tested) in (0, 2)


def test_what_was_damaged_is_not_decoded_again(tmp_path, monkeypatch):
    traps(tmp_path / "own")
    first = loaded(tmp_path / "own")
    monkeypatch.setattr(reading, "whole", None)
    again = loaded(tmp_path / "own")
    assert again.unreadable == first.unreadable and again.fingerprint == first.fingerprint


def test_more_than_a_twentieth_is_too_much_and_any_where_that_is_said(tmp_path):
    folder_of(tmp_path, some(38, 8, 8), [0, 1] * 19, ("a", "b"))
    (tmp_path / "a" / "bad-1.png").write_bytes(b"")
    (tmp_path / "a" / "bad-2.png").write_bytes(b"")
    assert loaded(tmp_path).unreadable == {"empty": 2}  # of 40
    with pytest.raises(UserError, match="2 of 40 files cannot(?s:.*)as --unreadable refuse wants it"):
        loaded(tmp_path, unreadable="refuse")
    (tmp_path / "a" / "bad-3.png").write_bytes(b"")
    with pytest.raises(UserError, match="3 of 41 files cannot be read as images:(?s:.*)up to 5% of them are left out"):
        loaded(tmp_path)
    with pytest.raises(UserError, match="unreadable='sikp'"):
        loaded(tmp_path, unreadable="sikp")


def test_a_class_whose_files_are_all_left_out_is_named(tmp_path):
    folder_of(tmp_path, some(60, 8, 8), [0, 1] * 30, ("a", "b"))
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "bad.png").write_bytes(b"")
    with pytest.raises(UserError, match="c holds no images"):
        loaded(tmp_path)


@pytest.mark.parametrize("content", [b"", None])
def test_a_folder_of_which_nothing_can_be_read(tmp_path, content):
    whole = io.BytesIO()
    Image.fromarray(some(1, 32, 32)[0]).save(whole, "PNG")
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "bad.png").write_bytes(whole.getvalue()[:200] if content is None else content)
    with pytest.raises(UserError, match="2 of 2 files cannot be read"):
        loaded(tmp_path)
    with pytest.raises(UserError, match=r"holds no images that can be read:\n    "):
        reading.read(tmp_path, image_size=8, fit="crop", split=None, group_by=None, most_unreadable=1.0)
    (tmp_path / "a" / "bad.png").unlink()
    (tmp_path / "b" / "bad.png").unlink()
    with pytest.raises(UserError, match="holds no images that can be read\n"):
        loaded(tmp_path)


# ---- copies and groups


def test_copies_by_their_pixels_are_refused_across_the_split_and_counted_where_allowed(tmp_path):
    images = some(12, 8, 8)
    folder_of(tmp_path, images, [0, 1] * 6, ("a", "b"), "train")
    folder_of(tmp_path, some(4, 8, 8), [0, 1] * 2, ("a", "b"), "test")
    assert loaded(tmp_path).num_leaks == 0
    write(tmp_path / "test" / "a" / "same class.bmp", images[0])
    write(tmp_path / "test" / "b" / "other class.bmp", images[2])
    with pytest.raises(
        UserError, match=r"2 of 6 test images in .* are also trained on, pixel by pixel:\n    "
    ) as refused:
        loaded(tmp_path)
    assert "train/a/0000.png and test/a/same class.bmp;\n    train/a/0002.png and test/b/other class" in str(
        refused.value
    )
    assert "--allow-leaks" in refused.value.advice
    assert loaded(tmp_path, allow_leaks=True).num_leaks == 2


def test_what_is_a_copy_does_not_depend_on_the_size_that_is_trained_at(tmp_path):
    """Two that become the same at 8 by 8 pixels are none, and so data of two sizes have one split."""
    for row in range(60):
        image = np.full((64, 64), 40 * (row % 3), np.uint8)
        image[row % 64, row * 7 % 64] += 1  # averaged away
        write(tmp_path / "ab"[row % 2] / f"{row}.png", image)
    small, large = loaded(tmp_path), dataset.load(str(tmp_path), image_size=64)
    assert [len({image.tobytes() for image in data.train_images}) for data in (small, large)] == [3, 48]
    assert small.fingerprint == large.fingerprint and small.files == large.files


def test_copies_by_pixels_are_held_out_together(tmp_path):
    """As BMP and as PNG: other bytes."""
    images = some(40, 8, 8)
    folder_of(tmp_path, images, [0, 1] * 20, ("a", "b"))
    plain = loaded(tmp_path)
    for row in range(0, 40, 2):
        write(tmp_path / "b" / f"copy-{row}.bmp", images[row])
    data = loaded(tmp_path)
    train, test = ({image.tobytes() for image in part} for part in (data.train_images, data.test_images))
    assert not train & test and len(train | test) == 40 and len(data.files) == 60
    assert len(plain.test_labels) == 8


def test_a_class_that_is_all_copies_of_what_is_held_out_is_trained_on(tmp_path):
    """By hand: all images of c are copies of images of a, whichever of these are drawn."""
    images = some(20, 8, 8)
    folder_of(tmp_path, images, [0, 1] * 10, ("a", "b"))
    tested = {image.tobytes() for image in loaded(tmp_path).test_images}
    for row in [row for row, image in enumerate(images) if image.tobytes() in tested][:2]:
        write(tmp_path / "c" / f"{row}.png", images[row])
    data = loaded(tmp_path)
    assert data.class_names == ("a", "b", "c") and set(data.train_labels) == {0, 1, 2}
    train, test = ({image.tobytes() for image in part} for part in (data.train_images, data.test_images))
    assert not train & test


def sources(names):
    return {re.search("patient-([0-9]+)", name)[1] for name in names}


@pytest.mark.parametrize("labels", [None, 20, 45])
def test_groups_stay_on_one_side_of_every_split(tmp_path, labels):
    people(tmp_path)
    data = loaded(tmp_path, group_by="patient-([0-9]+)")
    num_train = len(data.train_labels)
    assert not sources(data.files[:num_train]) & sources(data.files[num_train:])
    assert len(data.test_labels) == 24 and np.bincount(data.test_labels).tolist() == [12, 12]
    train, validation = dataset.train_and_validation(data, 0.1, labels_per_class=labels)
    assert len(validation) and not set(train) & set(validation)
    assert not sources(data.files[row] for row in train) & sources(data.files[row] for row in validation)
    if labels is None:
        assert len(train) + len(validation) == 96 and len(validation) in (6, 12)


def test_the_whole_match_is_the_group_where_there_are_no_parentheses(tmp_path):
    people(tmp_path)
    data = loaded(tmp_path, group_by="patient-[0-9]+")
    assert data.fingerprint == loaded(tmp_path, group_by="patient-([0-9]+)").fingerprint
    assert data.fingerprint != loaded(tmp_path).fingerprint


def test_held_out_groups_are_one_of_scikit_learns_folds():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 30, 400)
    labels = rng.integers(0, 3, 30)[groups]
    held = sides.held_out_groups(labels, groups, 0.2, seed=0)
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0).split(labels, labels, groups)
    assert any(np.array_equal(held, fold) for _, fold in folds) and abs(len(held) - 80) < 40
    assert not set(groups[held]) & set(np.delete(groups, held))


def test_groups_and_copies_are_joined_from_one_to_the_next():
    """1 and 2 share a group, 2 and 3 are copies, 4 stands alone; by hand."""
    joined = sides.together(np.array([0, 1, 1, 2, 3]), np.array([0, 1, 2, 2, 3]))
    assert joined.tolist() == [0, 1, 1, 1, 2]
    partners = sides.on_other_sides(np.array([5, 5, 7, 5, 7]), np.array([0, 1, 0, 1, 0]))
    assert partners.tolist() == [1, 0, -1, 0, -1]


def test_a_group_on_two_sides_of_the_folders_own_split_is_refused(tmp_path):
    people(tmp_path, parts=("train", "test"))
    with pytest.raises(
        UserError, match="20 groups in .* on more than one side of its split: 0, 10, 12, 14, 16, …"
    ) as refused:
        loaded(tmp_path, group_by="patient-([0-9]+)")
    assert "--allow-leaks" in refused.value.advice
    assert loaded(tmp_path, group_by="patient-([0-9]+)", allow_leaks=True).num_leaks == 120
    assert loaded(tmp_path).num_leaks == 0


@pytest.mark.parametrize("pattern", ["patient-([0-9]+)", "patient-(x)?"])
def test_a_name_without_a_group_is_refused_by_name(tmp_path, pattern):
    people(tmp_path)
    write(tmp_path / "a" / "stranger.png", some(1, 8, 8)[0])
    with pytest.raises(UserError, match=r"--group-by .* is not found in a/(stranger|patient-0_0).png"):
        loaded(tmp_path, group_by=pattern)


def test_groups_that_leave_no_split_are_refused(tmp_path):
    folder_of(tmp_path, some(20, 8, 8), [0, 1] * 10, ("a", "b"))
    with pytest.raises(UserError, match="holds 20 images, and none to test with(?s:.*)add groups"):
        loaded(tmp_path, group_by="^[ab]")


def test_options_of_a_folder_are_refused_with_other_data(tmp_path):
    with pytest.raises(UserError, match="--group-by with the data digits"):
        dataset.load("digits", group_by="x")
    with pytest.raises(UserError, match="--allow-leaks with the data digits"):
        dataset.load("digits", allow_leaks=True)


def test_a_cache_with_other_files_in_it_is_refused_by_name(tmp_path):
    folder_of(tmp_path, some(20, 8, 8), [0, 1] * 10, ("a", "b"))
    loaded(tmp_path)
    (kept,) = (download.cache_folder() / "images").glob("*/files.json")
    kept.write_text('{"hashes": [], "damaged": []}')
    with pytest.raises(UserError, match="files.json: it tells of other images(?s:.*)delete the folder"):
        loaded(tmp_path)


def test_kinds_of_reasons_are_those_that_pages_know():
    from compare.page.words import UNREADABLE

    assert set(UNREADABLE) == set(decoding.Kind.__args__)
