"""A folder of JPEG photographs, and the first five epochs on it: ours beside PyTorch's, Keras' and fastai's own ways.

The same files, networks, crops, mirrors, colours and optimizers; each in a process of its own, timed from its start,
with an empty cache.

    python tests/benchmarks/loaders.py                            a table, of 2,000 photographs; ten minutes and more
    python tests/benchmarks/loaders.py --images 400 --repeats 1   sooner
    python tests/benchmarks/loaders.py --folder FOLDER            another folder, FOLDER/train/CLASS/…

torchvision's resnet18, all of it trained: `ours`, as `scratch_resnet` trains; `torchvision, N workers`, `ImageFolder`
with a `DataLoader`; `fastai`, its `ImageDataLoaders`.
EfficientNet-Lite0, frozen, and a head, by Keras: `ours, Keras`, as `pretrained` trains; `Keras`,
`image_dataset_from_directory`, its random layers and `fit`.

fastai runs in an environment of its own: name its Python with --fastai-python, or one is made by uv.

Seconds are those to the end of the first and of the fifth epoch, from the start of the process; processor seconds are
of the process and all that it starts, and mind other work on the machine less. Memory is the highest sum over the
process tree of what only one process has and each one's share of what several do (PSS). `second run` finds the decoded
photographs. Results: `results/loaders.json`.
"""

import argparse
import dataclasses
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
RESULTS = HERE / "results" / "loaders.json"
WAYS = ("ours", "torchvision, 0 workers", "torchvision, 2 workers", "fastai", "ours, Keras", "Keras")
NUM_EPOCHS = 5
CROP_AREA, COLOUR_JITTER, RATIOS = 0.35, 0.2, (3 / 4, 4 / 3)
LEARNING_RATE = 1e-3
MEAN, DEVIATION = (
    (0.485, 0.456, 0.406),
    (0.229, 0.224, 0.225),
)  # what fastai and torchvision's users subtract and divide by
EPOCH = "epoch "  # how the line begins that a way prints after each, with the seconds since the epoch of the clock


def main():
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="\n".join(__doc__.splitlines()[3:]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, metavar="WAY", help=", ".join(WAYS))
    parser.add_argument("--fastai-python", help="a Python that has fastai, torchvision and Pillow")
    parser.add_argument("--train", choices=WAYS, help=argparse.SUPPRESS)  # in the process that is measured
    arguments = parser.parse_args()
    if arguments.train:
        train(arguments)
        return
    with tempfile.TemporaryDirectory() as place:
        folder = arguments.folder
        if folder is None:
            import sample_photographs

            folder = sample_photographs.written(Path(place, "photographs"), arguments.images)
        for path in folder.rglob("*.*"):  # no more from the disk then
            path.read_bytes()
        found = {way: [] for way in arguments.ways}
        for _ in range(arguments.repeats):
            for way in arguments.ways:  # in turns, so that a slow minute of the machine slows all of them
                print(f"{way} …", file=sys.stderr, flush=True)
                found[way].append(measured(way, folder, Path(place, "cache"), arguments))
        again = [way for way in arguments.ways if way.startswith("ours")]
        for way in again:  # and once with what the one before has left in the cache
            found[f"{way}, second run"] = [measured(way, folder, Path(place, "cache"), arguments, keep=way)]
    table(found)
    told = {name: value if not isinstance(value, Path) else value.name for name, value in vars(arguments).items()}
    content = {"arguments": told, "machine": machine_words(), "results": found}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(content, indent=1, ensure_ascii=False, default=str) + "\n", encoding="utf-8")


def machine_words() -> str:
    """What computes."""
    from compare.system import machine

    return f"{machine.processor_name()}, {os.cpu_count()} processors"


def measured(way: str, folder: Path, cache: Path, arguments, *, keep: str | None = None) -> dict:
    """Train one way in a process of its own, with an empty cache, or with that of `keep`'s last run."""
    mine = cache / "".join(letter for letter in way if letter.isalnum())
    if keep is None:
        shutil.rmtree(mine, ignore_errors=True)
    python = [sys.executable]
    if way == "fastai":
        python = [arguments.fastai_python] if arguments.fastai_python else UV_PYTHON
    words = ["--train", way, "--folder", folder, "--image-size", arguments.image_size]
    words += ["--batch-size", arguments.batch_size]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(mine)}
    command = [*python, str(HERE / "loaders.py"), *map(str, words)]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.time()
    process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    highest = [0]
    watching = threading.Thread(target=watch, args=(process.pid, highest), daemon=True)
    watching.start()
    lines = process.stdout.read().splitlines()
    if process.wait():
        sys.exit(f"{way} failed")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    watching.join()
    ends = [float(line.split()[2]) - start for line in lines if line.startswith(EPOCH)]
    accuracy = next(float(line.split()[1]) for line in lines if line.startswith("accuracy"))
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "seconds_to_end_of_epoch": [round(one, 2) for one in ends],
        "processor_seconds": round(processor, 2),
        "peak_memory_bytes": highest[0],
        "test_accuracy": accuracy,
    }


UV_PYTHON = ["uv", "run", "--no-project", "--with", "fastai", "--with", "psutil", "python"]


def watch(pid: int, highest: list[int]) -> None:
    """Keep the highest memory of a process and all below it, until it ends."""
    import psutil

    while True:
        try:
            root = psutil.Process(pid)
            total = 0
            for one in [root, *root.children(recursive=True)]:
                try:
                    memory = one.memory_full_info()
                except (psutil.NoSuchProcess, psutil.AccessDenied):
                    continue
                total += getattr(memory, "pss", memory.uss)
            highest[0] = max(highest[0], total)
            if root.status() == psutil.STATUS_ZOMBIE:
                return
        except psutil.NoSuchProcess:
            return
        time.sleep(0.25)


def table(found: dict) -> None:
    """A row a way: medians, with the range of seconds to the last epoch."""
    print(f"{'':<28}{'1st epoch':>11}{'5th epoch':>11}{'(range)':>19}{'processor':>11}{'memory':>10}{'accuracy':>10}")
    for way, results in found.items():
        first, last = ([one["seconds_to_end_of_epoch"][place] for one in results] for place in (0, -1))
        processor = statistics.median(one["processor_seconds"] for one in results)
        memory = statistics.median(one["peak_memory_bytes"] for one in results)
        accuracy = statistics.median(one["test_accuracy"] for one in results)
        print(
            f"{way:<28}{statistics.median(first):>9.1f} s{statistics.median(last):>9.1f} s"
            f"{f'({min(last):.1f} to {max(last):.1f})':>19}{processor:>9.1f} s{memory / 1e9:>7.2f} GB{accuracy:>10.3f}"
        )


# ---- the ways, each in its process


def train(arguments) -> None:
    """Train the way that is named, saying when each epoch has ended."""
    ways = {"ours": ours, "fastai": fastai, "ours, Keras": ours_keras, "Keras": keras_way}
    way = ways.get(arguments.train, torchvision_way)
    print(f"accuracy {way(arguments.folder, arguments)}", flush=True)


def ended(epoch: int) -> None:
    """Say when."""
    print(f"{EPOCH}{epoch} {time.time()}", flush=True)


def ours_recipe(recipe, arguments):
    """The recipe with what all ways have alike."""
    return dataclasses.replace(
        recipe,
        image_size=arguments.image_size,
        batch_size=arguments.batch_size,
        least_steps=0,
        precision="float32",
        on_photographs={},
        crop_area=CROP_AREA,
        centre_crop=0.875,
        colour_jitter=COLOUR_JITTER,
        fit="crop",
    )


def ours(folder: Path, arguments) -> float:
    """`scratch_resnet`."""
    import torch
    from torchvision.models import resnet18
    from torchvision.transforms import Normalize

    from compare.data import image_folder
    from compare.training import crops
    from compare.training.progress import Journal
    from scratch_resnet import loop
    from scratch_resnet.batches import Batches
    from scratch_resnet.recipe import TUNED

    recipe = dataclasses.replace(
        ours_recipe(TUNED, arguments),
        schedule="constant",
        learning_rate=LEARNING_RATE,
        label_smoothing=0.0,
        mirrored_predictions=False,
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data = image_folder.load(folder, image_size=crops.side_to_decode(recipe))
    batches = Batches(data.train_images, data.train_labels, device=device)
    torch.manual_seed(0)
    network = torch.nn.Sequential(Normalize(MEAN, DEVIATION), resnet18(num_classes=len(data.class_names)))
    network = network.to(device, memory_format=torch.channels_last)
    optimizer = loop.new_optimizer(network, recipe)
    for epoch in range(1, NUM_EPOCHS + 1):
        totals = torch.zeros(2, -(-len(batches) // recipe.batch_size), device=device)
        with Journal().epoch("", len(batches)) as bar:
            for _ in loop.train_epoch(network, optimizer, batches, totals, recipe=recipe, seed=0, epoch=epoch, bar=bar):
                pass
        ended(epoch)
    test = Batches(data.test_images, data.test_labels, device=device)
    return loop.evaluate(loop.infer(network, test, recipe=recipe), test.labels)[1]


def torchvision_way(folder: Path, arguments) -> float:
    """`ImageFolder` and a `DataLoader`, as PyTorch's examples have it."""
    import torch
    from torch.nn import functional as F
    from torch.utils.data import DataLoader
    from torchvision import transforms
    from torchvision.datasets import ImageFolder
    from torchvision.models import resnet18

    num_workers = int(arguments.train.split()[1])
    size = arguments.image_size
    training = transforms.Compose(
        [
            transforms.RandomResizedCrop(size, scale=(CROP_AREA, 1), ratio=RATIOS),
            transforms.RandomHorizontalFlip(),
            transforms.ColorJitter(COLOUR_JITTER, COLOUR_JITTER, COLOUR_JITTER),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, DEVIATION),
        ]
    )
    testing = transforms.Compose(
        [
            transforms.Resize(round(size / 0.875)),
            transforms.CenterCrop(size),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, DEVIATION),
        ]
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data = ImageFolder(folder / "train", training)
    more = {"num_workers": num_workers, "persistent_workers": num_workers > 0, "pin_memory": device.type == "cuda"}
    loader = DataLoader(data, arguments.batch_size, shuffle=True, **more)
    torch.manual_seed(0)
    network = resnet18(num_classes=len(data.classes)).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=0.0, fused=True)
    for epoch in range(1, NUM_EPOCHS + 1):
        network.train()
        for images, labels in loader:
            images = images.to(device, memory_format=torch.channels_last)
            loss = F.cross_entropy(network(images), labels.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        ended(epoch)
    network.eval()
    test = ImageFolder(folder / "test", testing)
    with torch.inference_mode():
        right = [
            (network(images.to(device)).argmax(1).cpu() == labels).sum().item()
            for images, labels in DataLoader(test, 4 * arguments.batch_size)
        ]
    return sum(right) / len(test)


def fastai(folder: Path, arguments) -> float:
    """`ImageDataLoaders.from_folder`, with fastai's own number of workers; crops by Pillow, colours by the batch."""
    import torch
    from fastai.vision.all import (
        Brightness,
        Callback,
        Contrast,
        CrossEntropyLossFlat,
        FlipItem,
        ImageDataLoaders,
        Learner,
        Normalize,
        RandomResizedCrop,
        Saturation,
        accuracy,
        set_seed,
    )
    from torchvision.models import resnet18

    class Ends(Callback):
        """Says when each epoch's training has ended, before it is validated."""

        def after_train(self):
            ended(self.epoch + 1)

    class NoValidation(Callback):
        """The other ways have none between the epochs."""

        def before_validate(self):
            from fastai.callback.core import CancelValidException

            raise CancelValidException

    set_seed(0)
    data = ImageDataLoaders.from_folder(
        folder,
        valid="test",
        bs=arguments.batch_size,
        item_tfms=[RandomResizedCrop(arguments.image_size, min_scale=CROP_AREA, ratio=RATIOS), FlipItem()],
        batch_tfms=[
            Brightness(max_lighting=COLOUR_JITTER / 2, p=1.0),
            Contrast(max_lighting=COLOUR_JITTER, p=1.0),
            Saturation(max_lighting=COLOUR_JITTER, p=1.0),
            Normalize.from_stats(MEAN, DEVIATION),
        ],
    )
    torch.manual_seed(0)
    learner = Learner(data, resnet18(num_classes=len(data.vocab)), loss_func=CrossEntropyLossFlat(), metrics=accuracy)
    quiet = NoValidation()
    with learner.no_bar(), learner.no_logging():
        learner.fit(NUM_EPOCHS, LEARNING_RATE, wd=0.0, cbs=[Ends(), quiet])
        return float(learner.validate()[1])


def lite0(image_size: int):
    """The frozen network of both ways on Keras, with random weights: the work is the same."""
    from pretrained import feature_network
    from pretrained.backbones import BACKBONES
    from pretrained.weights import Weights

    return feature_network.build_backbone(
        BACKBONES["EfficientNetLite0"], Weights("random"), seed=0, image_size=image_size
    )


def ours_keras(folder: Path, arguments) -> float:
    """`pretrained`: the head by gradient descent on the features of augmented images."""
    from pretrained import backend

    backend.choose("tensorflow", "auto")
    with backend.quiet_start():
        import numpy as np

        from pretrained import features, loop, model
        from pretrained.backbones import BACKBONES
        from pretrained.recipe import ARTICLE
        from pretrained.weights import Weights

    from compare.data import image_folder
    from compare.training import crops
    from compare.training.progress import Journal

    recipe = dataclasses.replace(ours_recipe(ARTICLE, arguments), horizontal_flip=True, backbone="EfficientNetLite0")
    recipe = dataclasses.replace(recipe, learning_rate=0.1, preprocessing="imagenet")
    data = image_folder.load(folder, image_size=crops.side_to_decode(recipe))
    networks = model.build_networks(
        BACKBONES["EfficientNetLite0"],
        Weights("random"),
        recipe=recipe,
        image_shape=data.image_shape,
        num_classes=len(data.class_names),
        num_steps=1,
        seed=0,
        precision="float32",
    )
    for epoch in range(1, NUM_EPOCHS + 1):
        with Journal().epoch("", len(data.train_labels)) as bar:
            rows, sums = np.arange(len(data.train_labels)), np.zeros(3)
            some = data.train_images, data.train_labels, rows, sums
            draws = {"recipe": recipe, "seed": 0, "epoch": epoch}
            for _ in loop.train_epoch(networks.head, *some, feature_extractor=networks.extractor, **draws, bar=bar):
                pass
        ended(epoch)
    found = loop.predict(networks.head, features.extract(networks.extractor, data.test_images, recipe=recipe))
    return loop.evaluate(found, data.test_labels)[1]


def keras_way(folder: Path, arguments) -> float:
    """`image_dataset_from_directory`, random layers in the pipeline, and `fit`, as Keras' guides have it: cut, then
    enlarged, which is two interpolations where the others have one."""
    from pretrained import backend

    backend.choose("tensorflow", "auto")
    with backend.quiet_start():
        import keras
        import tensorflow as tf

    size = arguments.image_size
    decoded = round(size / 0.875)
    more = {"image_size": (decoded, decoded), "crop_to_aspect_ratio": True, "batch_size": arguments.batch_size}
    training = keras.utils.image_dataset_from_directory(folder / "train", seed=0, verbose=False, **more)
    num_classes = len(training.class_names)
    test = keras.utils.image_dataset_from_directory(folder / "test", shuffle=False, verbose=False, **more)
    augmenting = keras.Sequential(
        [
            keras.layers.RandomCrop(size, size),
            keras.layers.RandomZoom((CROP_AREA**0.5 - 1, 0.0)),
            keras.layers.RandomFlip("horizontal"),
            keras.layers.RandomBrightness(COLOUR_JITTER, value_range=(0, 255)),
            keras.layers.RandomContrast(COLOUR_JITTER, value_range=(0, 255)),
            keras.layers.RandomSaturation((0.5 - COLOUR_JITTER / 2, 0.5 + COLOUR_JITTER / 2), value_range=(0, 255)),
        ]
    )
    training = training.map(lambda x, y: (augmenting(x, training=True), y), num_parallel_calls=tf.data.AUTOTUNE)
    centre = keras.layers.CenterCrop(size, size)
    network = lite0(size)
    inputs = keras.Input((size, size, 3))
    preprocessed = keras.layers.Rescaling(1 / 128, -127 / 128)(inputs)
    outputs = keras.layers.Dense(num_classes, activation="softmax")(network(preprocessed, training=False))
    whole = keras.Model(inputs, outputs)
    whole.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", metrics=["accuracy"])
    callback = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, _: ended(epoch + 1))
    whole.fit(training.prefetch(tf.data.AUTOTUNE), epochs=NUM_EPOCHS, verbose=0, callbacks=[callback])
    return whole.evaluate(test.map(lambda x, y: (centre(x), y)), verbose=0)[1]


if __name__ == "__main__":
    main()
