"""How fast a folder of photographs is decoded, beside Pillow in threads that does the same work and nothing else: open,
draft, load, turn as the camera says, convert, cut and resize. Prints one line of JSON.

    python tests/benchmarks/decoding.py --images 2000 --image-size 110
    python tests/benchmarks/decoding.py --folder FOLDER        another folder: FOLDER/CLASS/…

Both in turns, three times, the files read before. Ours writes the array to the disk besides, and before that looks at
all files and takes the hash of each, which is counted once with it and once without. Processor seconds beside seconds,
as other work may share the machine.
"""

import argparse
import concurrent.futures
import functools
import json
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import sample_photographs
from PIL import Image, ImageOps

from compare.data import image_folder
from compare.system import machine

NUM_REPEATS = 3


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--image-size", type=int, default=110, help="pixels a side that they are brought to")
    arguments = parser.parse_args()
    size = arguments.image_size
    with tempfile.TemporaryDirectory() as place:
        os.environ["XDG_CACHE_HOME"] = place  # of what is decoded
        folder = arguments.folder or sample_photographs.written(Path(place, "photographs"), arguments.images)
        paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        for path in paths:  # no more from the disk then
            path.read_bytes()
        times = {"ours": [], "decoding alone": [], "pillow": [], "again": []}
        for _ in range(NUM_REPEATS):
            times["pillow"].append(timed(lambda: plain(paths, size)))
            shutil.rmtree(Path(place, "images"), ignore_errors=True)
            found = list(image_folder._in_threads(image_folder._look, [(path, 0) for path in paths], doing="reading"))
            decode = functools.partial(image_folder._decoded, found, size=size, fit="crop")
            times["decoding alone"].append(timed(decode))
            for cached in Path(place).rglob("*.npy"):
                cached.unlink()
            times["ours"].append(timed(lambda: image_folder.load(folder, image_size=size)))
            times["again"].append(timed(lambda: image_folder.load(folder, image_size=size)))
        data = image_folder.load(folder, image_size=size)
        check(paths, size, data)
    rates = {name: len(paths) / statistics.median(one for one, _ in some) for name, some in times.items()}
    processor = {name: statistics.median(two for _, two in some) / len(paths) for name, some in times.items()}
    print(
        json.dumps(
            {
                "num_images": len(paths),
                "num_threads": image_threads(),
                "images_per_second": {name: round(rate, 1) for name, rate in rates.items()},
                "processor_milliseconds_an_image": {name: round(1000 * one, 3) for name, one in processor.items()},
                "of pillow's rate, decoding alone": round(rates["decoding alone"] / rates["pillow"], 3),
                "of pillow's rate, with looking and hashing": round(rates["ours"] / rates["pillow"], 3),
                "of pillow's processor seconds, decoding alone": round(
                    processor["decoding alone"] / processor["pillow"], 3
                ),
                "peak_memory_bytes": machine.peak_memory_bytes(),
            }
        )
    )


def timed(work) -> tuple[float, float]:
    """The seconds and the processor's seconds that it takes."""
    start, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - processor


def image_threads() -> int:
    """How many threads a pool has by default, which is what both use."""
    return concurrent.futures.ThreadPoolExecutor()._max_workers


def plain(paths: list[Path], size: int) -> np.ndarray:
    """The least that gives the same pixels of photographs: uint8 (num_images, size, size, 3)."""
    images = np.empty((len(paths), size, size, 3), np.uint8)

    def one(place: int) -> None:
        with Image.open(paths[place]) as image:
            image.draft(None, (2 * size, 2 * size))
            image.load()
            image = ImageOps.exif_transpose(image)
            images[place] = ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.BILINEAR)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(one, range(len(paths))))
    return images


def check(paths: list[Path], size: int, data) -> None:
    """Both give the same images, whatever their order."""
    theirs = plain(paths, size)
    ours = np.concatenate([data.train_images, data.test_images])
    hashes = [sorted(image.tobytes() for image in images) for images in (ours, theirs)]
    if hashes[0] != hashes[1]:
        raise SystemExit("not the same images")


if __name__ == "__main__":
    main()
