"""Folders of images that tests make, with everything in them that goes wrong."""

import io

import numpy as np
from PIL import Image

RNG = np.random.default_rng(0)
HOSTILE = [
    'it\'s "quoted".png',
    "two\nlines.png",
    "鞋子 女装.png",
    "👟👞.png",
    "حذاء\u202e.png",
    "a\x1b[31mred.png",
    "\udcff.png",
]


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


def contents(folder):
    """Every file below a folder, its bytes and when it was written."""
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def traps(folder):
    """A file of every trap, with why it cannot be read, or None where it can; beside it sixty that can."""
    whole = io.BytesIO()
    Image.fromarray(some(1, 32, 32, 3)[0]).save(whole, "JPEG")
    grey = some(1, 8, 8)[0]
    folder_of(folder, some(60, 8, 8, 3), np.arange(60) % 2, ("a", "b"))
    found = {}

    def trap(name, image, why=None, **settings):
        write(folder / "a" / name, image, **settings)
        found[f"a/{name}"] = why

    trap("deep.png", Image.fromarray(grey.astype(np.uint16) * 257))
    trap("cmyk.jpg", Image.new("CMYK", (9, 9), (200, 3, 4, 5)))
    trap("palette.gif", Image.fromarray(some(1, 8, 8, 3)[0]).quantize(16))
    trap("alpha.png", some(1, 8, 8, 4)[0])
    for number in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = number
        trap(f"exif-{number}.jpg", some(1, 8, 12, 3)[0], exif=exif)
    frames = [Image.fromarray(frame) for frame in some(3, 8, 8, 3)]
    trap("animated.gif", frames[0], save_all=True, append_images=frames[1:])
    trap("pages.tif", frames[1], save_all=True, append_images=frames[:1])
    trap("dot.png", some(1, 1, 1, 3)[0])
    trap("line.png", some(1, 3, 12_000, 3)[0])
    for name in HOSTILE:
        trap(name, some(1, 8, 8, 3)[0])
    for name, content, why in (
        ("truncated.jpg", whole.getvalue()[:400], "damaged"),
        ("zero.jpg", b"", "empty"),
        ("text.jpg", b"a text called .jpg", "no image"),
    ):
        (folder / "a" / name).write_bytes(content)
        found[f"a/{name}"] = why
    outside = folder.parent / "elsewhere.png"
    write(outside, grey)
    (folder / "a" / "link.png").symlink_to(outside)
    found["a/link.png"] = "outside"
    (folder / "b" / "inside.png").symlink_to(folder / "a" / "dot.png")  # a link within is a copy
    for name in ("Thumbs.db", ".DS_Store", ".ipynb_checkpoints/x.png", "__MACOSX/x.png"):
        (folder / "a" / name).parent.mkdir(exist_ok=True)
        (folder / "a" / name).write_bytes(b"no image")
    return found


def people(folder, *, parts=("",)):
    """Twenty people with six images each, each of one class."""
    for part in parts:
        for person in range(20):
            for number in range(6):
                write(folder / part / "ab"[person % 2] / f"patient-{person}_{number}.png", some(1, 8, 8)[0])
