"""What is found in a folder before anything is trained. Truths: a folder made by hand, whose counts are known, SciPy's
cosine transform, and comparing everything with everything."""

import io
import json

import numpy as np
import pytest
import scipy.fft
from picture_folders import HOSTILE, contents, folder_of, people, some, traps, write
from PIL import Image, ImageDraw, ImageEnhance

from compare import inspect
from compare.findings import folder as findings

RNG = np.random.default_rng(7)


def scene():
    """A picture of a dozen discs."""
    image = Image.new("RGB", (160, 120), tuple(map(int, RNG.integers(0, 200, 3))))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y, side = map(int, RNG.integers(8, 110, 3))
        draw.ellipse((x, y, x + side, y + side), fill=tuple(map(int, RNG.integers(0, 200, 3))))
    return image


@pytest.fixture
def messy(tmp_path):
    """A folder with one of everything that is wrong, and nothing else."""
    folder = tmp_path / "messy"
    scenes = {}
    for part, number in (("train", 40), ("valid", 10), ("test", 12)):
        for name in ("cat", "dog") if part != "test" else ("cat",):
            for row in range(number // (1 if name == "cat" else 5)):
                write(folder / part / name / f"{row}.png", scenes.setdefault((part, name, row), scene()))
    train = scenes["train", "cat", 0]
    write(folder / "test" / "cat" / "leak.bmp", train)
    write(folder / "train" / "dog" / "other class.bmp", scenes["train", "cat", 1])
    write(folder / "train" / "cat" / "twice.bmp", scenes["train", "cat", 2])
    write(folder / "test" / "cat" / "near.jpg", scenes["train", "cat", 3].resize((80, 60)), quality=60)
    bright = ImageEnhance.Brightness(scenes["train", "cat", 4]).enhance(1.15)
    write(folder / "valid" / "cat" / "bright.png", bright)
    write(folder / "train" / "dog" / "tiny.png", scene().resize((31, 200)))
    write(folder / "train" / "dog" / "white.png", Image.new("RGB", (50, 50), "white"))
    write(folder / "train" / "dog" / "film.gif", scene(), save_all=True, append_images=[scene()])
    (folder / "train" / "dog" / "bad.jpg").write_bytes(b"a text")
    return folder


def test_everything_that_is_wrong_is_found_and_nothing_else(messy, run_main):
    before = contents(messy)
    code, out, err = run_main(inspect, messy, "--json")
    said = json.loads(out)
    assert code == 1 and contents(messy) == before
    assert said["classes"] == {"cat": {"train": 41, "val": 11, "test": 14}, "dog": {"train": 12, "val": 2, "test": 0}}
    assert said["num_images"] == 80 and said["layout"] == "parts" and not said["held_out_here"]
    assert said["sizes"]["least"] == [31, 50] and said["sizes"]["largest"] == [160, 200]
    assert said["formats"] == {"PNG": 75, "BMP": 3, "JPEG": 1, "GIF": 1} and said["modes"] == {"RGB": 79, "P": 1}
    (bad,) = said["unreadable"]
    assert (bad["file"], bad["kind"]) == ("train/dog/bad.jpg", "no image") and "none of JPEG" in bad["reason"]
    assert sorted(map(sorted, said["copies"])) == [
        ["test/cat/leak.bmp", "train/cat/0.png"],
        ["train/cat/1.png", "train/dog/other class.bmp"],
        ["train/cat/2.png", "train/cat/twice.bmp"],
    ]
    assert said["leaks"] == [["train/cat/0.png", "test/cat/leak.bmp"]]
    assert sorted(pair["files"] for pair in said["near"]) == [
        ["test/cat/near.jpg", "train/cat/3.png"],
        ["valid/cat/bright.png", "train/cat/4.png"],
    ]
    assert said["without_test"] == ["dog"] and said["imbalance"] == pytest.approx(52 / 14)
    assert said["tiny"] == ["train/dog/tiny.png"] and said["nearly_empty"] == ["train/dog/white.png"]
    assert said["several_frames"] == ["train/dog/film.gif"] and said["groups"] is None
    (refused,) = said["refused"]
    assert "1 of 14 test images" in refused["came"] and "--allow-leaks" in refused["advice"]
    assert "error: 1 of 14 test images" in err and "\n  what to do: " in err


def test_a_line_for_each_says_what_to_do(messy, run_main):
    code, out, _ = run_main(inspect, messy)
    lines = [line.split("\t") for line in out.splitlines()]
    topics = [line[1] for line in lines if len(line) > 1]
    assert code == 1 and topics == [
        *("folder", "sizes", "formats", "modes", "class cat", "class dog", "unreadable", "copies, test"),
        *("copies, classes", "copies", "near copies", "without test", "imbalance", "tiny", "nearly empty"),
        *("several frames", "refused"),
    ]
    told = {line[1]: line for line in lines if len(line) > 1}
    assert told["copies, test"][:3] == [
        "note",
        "copies, test",
        "sets of the same pixels, 1: train/cat/0.png = test/cat/leak.bmp",
    ]
    assert told["unreadable"][2] == "1: no image 1; endings: .jpg 1" and told["refused"][0] == "GAP"


def test_a_folder_with_nothing_wrong(tmp_path, run_main):
    for row in range(40):
        write(tmp_path / "own" / "ab"[row % 2] / f"{row}.png", scene())
    code, out, err = run_main(inspect, tmp_path / "own")
    assert code == 0 and {line.partition("\t")[0] for line in out.splitlines()} == {"ok"}
    assert "own: 40 images of 2 classes, 20 to 20 each; 32 to train on, 0 to validate with, 8 to test" in out


def test_the_page_shows_it_escaped_and_in_every_language(messy, tmp_path, run_main):
    (messy / "train" / "<b>bird & co").mkdir()
    for name in HOSTILE:
        write(messy / "train" / "<b>bird & co" / f"{name}", Image.new("L", (9, 9), 3))
    (messy / "train" / "dog" / "<img src=x>\n.jpg").write_bytes(b"")
    code, out, _ = run_main(inspect, messy, "--out", tmp_path / "look")
    page = (tmp_path / "look" / "index.html").read_text(encoding="ascii")
    assert code == 1 and out.splitlines()[-1] == str(tmp_path / "look" / "index.html")
    assert "<b>bird" not in page and "&lt;b&gt;bird &amp; co" in page and "&lt;img src=x&gt;\\n.jpg" in page
    assert "\x1b" not in page and "a\\x1b[31mred.png" in page and "\\udcff.png" in page
    assert page.count("data:image/webp;base64,") == 1 and "A training would refuse this folder" in page
    assert str(messy.parent) not in page  # a page may be passed on
    assert sorted(path.name for path in (tmp_path / "look").iterdir()) == ["index.html"]


def test_traps_are_told_of_and_never_end_it(tmp_path, run_main):
    found = traps(tmp_path / "own")
    before = contents(tmp_path / "own")
    code, out, _ = run_main(inspect, tmp_path / "own", "--json")
    said = json.loads(out)
    assert code == 0 and contents(tmp_path / "own") == before
    assert {one["file"]: one["kind"] for one in said["unreadable"]} == {name: why for name, why in found.items() if why}
    assert said["several_frames"] == ["a/animated.gif", "a/pages.tif"] and said["other_files"] == {}
    assert said["sizes"]["largest"][0] == 12_000 and said["sizes"]["least"] == [1, 1]
    assert {"I;16", "CMYK", "P", "RGBA", "RGB"} == set(said["modes"])
    assert ["a/dot.png", "b/inside.png"] in map(sorted, said["copies"])


def test_more_that_cannot_be_read_than_a_training_takes_is_told_and_refused(tmp_path, run_main):
    folder_of(tmp_path / "own", some(20, 40, 40), [0, 1] * 10, ("a", "b"))
    for number in range(30):
        (tmp_path / "own" / "a" / f"{number}.heic").write_bytes(b"ftyp")
    (tmp_path / "own" / "a" / "x.ogg").write_bytes(b"a sound")
    code, out, err = run_main(inspect, tmp_path / "own", "--out", tmp_path / "page")
    assert "30: no image 30; endings: .heic 30" in out and "1, passed over: .ogg 1" in out
    assert "Other files, passed over" in (tmp_path / "page" / "index.html").read_text()
    assert code == 1 and "30 of 50 files cannot be read as images" in err


@pytest.mark.parametrize(
    ("make", "code", "says"),
    [
        (lambda own: own.mkdir(), 1, "holds 0 folders"),
        (lambda own: None, 2, "is no folder"),
        (lambda own: own.write_text(""), 2, "is no folder"),
    ],
)
def test_what_no_training_would_take_and_what_is_wrong_use(tmp_path, run_main, make, code, says):
    make(tmp_path / "own")
    got, _, err = run_main(inspect, tmp_path / "own")
    assert got == code and says in err


def test_nothing_is_written_into_the_folder(messy, run_main):
    for out in (messy / "look", messy):
        code, _, err = run_main(inspect, messy, "--out", out)
        assert code == 2 and "nothing is written into a folder of images" in err


def test_groups_are_counted_and_refused_where_they_are_on_two_sides(tmp_path, run_main):
    people(tmp_path / "whole")
    code, out, _ = run_main(inspect, tmp_path / "whole", "--group-by", "patient-([0-9]+)", "--json")
    said = json.loads(out)
    assert code == 0 and len(said["groups"]) == 20 and {len(names) for names in said["groups"].values()} == {6}
    people(tmp_path / "torn", parts=("train", "test"))
    code, out, err = run_main(inspect, tmp_path / "torn", "--group-by", "patient-([0-9]+)")
    assert code == 1 and "20 groups in" in err and "groups\t20, of up to 12 images" in out
    code, _, err = run_main(inspect, tmp_path / "whole", "--group-by", "patient-([0-9]+")
    assert code == 2 and "a regular expression of Python's" in err


# ---- the arithmetic


def test_perceptual_hashes_are_the_lowest_frequencies_by_scipy():
    image = scene().resize((64, 64))
    grey = np.asarray(image.convert("L").resize((32, 32), Image.Resampling.LANCZOS), float)
    lowest = scipy.fft.dct(scipy.fft.dct(grey, axis=0), axis=1)[:8, :8]
    right = (lowest > np.median(lowest)).ravel()
    (ours,) = findings.perceptual_hashes(np.asarray(image)[np.newaxis])
    assert np.array_equal(np.unpackbits(np.array([ours]).view(np.uint8)), right)


def test_the_nearest_hash_is_that_of_all(monkeypatch):
    monkeypatch.setattr(findings, "BLOCK", 16)
    some, others = (RNG.integers(0, 2**64, number, np.uint64) for number in (37, 101))
    others[50:60] = some[:10] ^ np.uint64(5)
    nearest, distances = findings.nearest_hashes(some, others)
    all_distances = np.array([[bin(int(one) ^ int(other)).count("1") for other in others] for one in some])
    assert np.array_equal(distances, all_distances.min(axis=1)) and (distances[:10] == 2).all()
    assert np.array_equal(all_distances[np.arange(37), nearest], distances)
    assert findings.nearest_hashes(some, others[:0])[1].tolist() == [65] * 37


def test_copies_are_near_and_class_mates_are_not():
    """Made smaller, brighter and compressed anew, of a hundred scenes; and all pairs of these."""

    def array(image):
        return np.asarray(image.convert("RGB").resize((64, 64), Image.Resampling.BILINEAR))

    scenes = [scene() for _ in range(100)]
    hashes = findings.perceptual_hashes(np.stack(list(map(array, scenes))))
    copies = []
    for image in scenes:
        written = io.BytesIO()
        image.save(written, "JPEG", quality=50)
        copies += [Image.open(written), image.resize((60, 45)), ImageEnhance.Brightness(image).enhance(1.2)]
    of_copies = findings.perceptual_hashes(np.stack(list(map(array, copies)))).reshape(100, 3)
    is_near = np.bitwise_count(of_copies ^ hashes[:, np.newaxis]) <= findings.NEAR
    assert is_near.mean(axis=0).min() >= 0.95
    pairs = np.bitwise_count(hashes[:, np.newaxis] ^ hashes)[np.triu_indices(100, 1)]
    assert (pairs <= findings.NEAR).mean() < 0.001


def test_how_far_grey_levels_spread_by_hand():
    flat = np.full((8, 8, 3), 7, np.uint8)
    half = flat.copy()
    half[:4] = (10, 7, 7)  # 3 more of red: 0.897 brighter
    assert findings.spread(np.stack([flat, half])) == pytest.approx([0, 3 * 0.299 / 2])
    assert findings.spread(np.array([[[[0], [4]]]], np.uint8)) == pytest.approx([2])
