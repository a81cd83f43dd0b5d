"""How fast a folder of photographs is decoded, beside Pillow in threads that does the same work and nothing else.
Prints one line of JSON.

    python tests/benchmarks/decoding.py ours       2,000 JPEGs of 640×480, to 110×110
    python tests/benchmarks/decoding.py load
    python tests/benchmarks/decoding.py again
    python tests/benchmarks/decoding.py pillow
    python tests/benchmarks/decoding.py ours --folder FOLDER --image-size 256     others

ours    what is between the list of files and the array on the disk
load    all of it: before that each file is looked at and hashed, so that other bytes are other data
again   the same, when the array is there already
pillow  open, draft, load, turn as the camera says, lay on white, convert, cut and resize, in as many threads

The files were read before. Processor seconds beside seconds, as other work may share the machine.
"""

import argparse
import concurrent.futures
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import sample_photographs
from PIL import Image, ImageOps

from compare.data import decoding, image_folder, reading
from compare.data.decoding import Head
from compare.data.layouts import Listed
from compare.data.reading import Found
from compare.system import machine

WORK = Path(__file__).parents[2] / "reports" / "benchmarks"  # where the photographs are kept


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("way", choices=["ours", "load", "again", "pillow"])
    parser.add_argument("--folder", type=Path, help="FOLDER/CLASS/…, or with train and test above")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--image-size", type=int, default=110, help="pixels a side that they are brought to")
    arguments = parser.parse_args()
    size, folder = arguments.image_size, arguments.folder
    if folder is None:
        folder = sample_photographs.written(WORK / f"photographs-{arguments.images}", arguments.images)
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    for path in paths:
        path.read_bytes()
    with tempfile.TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        found = [
            Found(Listed(path, str(path), 0, "train"), Head(str(path), "JPEG", "RGB", 640, 480, False))
            for path in paths
        ]
        if arguments.way == "again":
            image_folder.load(folder, image_size=size)
        start, processor = time.perf_counter(), time.process_time()
        if arguments.way == "pillow":
            plain(paths, size)
        elif arguments.way == "ours":
            images, *_ = reading._decoded(found, size=size, fit="crop")
        else:
            image_folder.load(folder, image_size=size)
        seconds, processor = time.perf_counter() - start, time.process_time() - processor
        if arguments.way == "ours" and not np.array_equal(images, plain(paths, size)):
            raise SystemExit("not the same images")
    print(
        json.dumps(
            {
                "images_per_second": len(paths) / seconds,
                "processor_milliseconds_an_image": 1000 * processor / len(paths),
                "num_images": len(paths),
                "peak_memory_bytes": machine.peak_memory_bytes(),
            }
        )
    )


def plain(paths: list[Path], size: int) -> np.ndarray:
    """The least that gives the same pixels: uint8 (num_images, size, size, 3)."""
    images = np.empty((len(paths), size, size, 3), np.uint8)

    def one(place: int) -> None:
        with Image.open(paths[place]) as image:
            image.draft(None, (2 * size, 2 * size))
            image.load()
            image = ImageOps.exif_transpose(image)
            if image.has_transparency_data:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, decoding.BACKGROUND), image)
            images[place] = ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.BILINEAR)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(one, range(len(paths))))
    return images


if __name__ == "__main__":
    main()
