"""A folder of JPEG photographs of 640×480, out of scikit-learn's two sample photographs: cropped, tinted, in four
classes (either of the two, upright or upside down). Only the work depends on them, and that something is learned."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance
from sklearn.datasets import load_sample_images

WIDTH, HEIGHT = 640, 480
CLASSES = ("china", "flower", "china upside down", "flower upside down")


def written(folder: Path, num_images: int) -> Path:
    """So many photographs below `folder/train` and a fifth as many below `folder/test`, written where they are not
    there yet. Returns the folder."""
    originals = [Image.fromarray(image) for image in load_sample_images().images]  # 427×640
    for part, number, seed in (("train", num_images, 0), ("test", num_images // 5, 1)):
        rng = np.random.default_rng(seed)
        for place in range(number):
            label = place % len(CLASSES)
            path = folder / part / CLASSES[label] / f"{place:05}.jpg"
            original = originals[label % 2]
            height = rng.uniform(0.5, 1) * original.height
            width = height * WIDTH / HEIGHT
            left, top = rng.uniform(0, original.width - width), rng.uniform(0, original.height - height)
            factors, quality = rng.uniform(0.7, 1.3, 3), int(rng.integers(80, 96))
            if path.exists():
                continue
            box = (left, top, left + width, top + height)
            image = original.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC, box=box)
            kinds = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
            for kind, factor in zip(kinds, factors, strict=True):
                image = kind(image).enhance(factor)
            image = image.transpose(Image.Transpose.ROTATE_180) if label >= 2 else image
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path, quality=quality)
    return folder
