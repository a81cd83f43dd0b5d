"""Fashion-MNIST as people have it: writers of its forms, none of which is ours."""

import gzip
import io
import shutil
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

PARTS = ("train_images", "train_labels", "test_images", "test_labels")


def arrays(files: dict[str, bytes]) -> dict[str, np.ndarray]:
    """The images and labels of idx files."""
    found = {}
    for part, (name, content) in zip(PARTS, files.items(), strict=True):
        found[part] = np.frombuffer(content, np.uint8, offset=16 if "images" in name else 8)
    return {part: array.reshape(-1, 28, 28) if "images" in part else array for part, array in found.items()}


def csv(images: np.ndarray, labels: np.ndarray, *, names: bool = True) -> bytes:
    """Kaggle's text."""
    file = io.BytesIO()
    header = ",".join(["label", *(f"pixel{number}" for number in range(1, 785))]) if names else ""
    rows = np.column_stack([labels, images.reshape(len(labels), -1)])
    np.savetxt(file, rows, fmt="%d", delimiter=",", header=header, comments="")
    return file.getvalue()


def parquet(images: np.ndarray, labels: np.ndarray) -> bytes:
    """A data hub's table."""
    import pyarrow
    import pyarrow.parquet

    pngs = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        pngs.append({"bytes": file.getvalue(), "path": None})
    file = io.BytesIO()
    table = pyarrow.table({"image": pngs, "label": pyarrow.array(labels.tolist(), pyarrow.int64())})
    pyarrow.parquet.write_table(table, file, row_group_size=7)
    return file.getvalue()


def npz(files: dict[str, bytes]) -> bytes:
    """Keras' arrays."""
    file = io.BytesIO()
    names = ("x_train", "y_train", "x_test", "y_test")
    np.savez(file, **dict(zip(names, arrays(files).values(), strict=True)))
    return file.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def tables(files: dict[str, bytes], write, name: str) -> dict[str, bytes]:
    data = arrays(files)
    return {name.format(part): write(data[f"{part}_images"], data[f"{part}_labels"]) for part in ("train", "test")}


def _gzipped(files: dict[str, bytes], name: str = "{}.gz") -> dict[str, bytes]:
    return {name.format(one): gzip.compress(content) for one, content in files.items()}


def _other_arrays(files: dict[str, bytes]) -> dict[str, bytes]:
    data = arrays(files)
    shapes = {"train_images": (-1, 28, 28, 1), "test_images": (-1, 784), "train_labels": (-1, 1), "test_labels": (-1,)}
    found = {}
    for (part, array), kind in zip(data.items(), (np.uint8, np.int64, np.int32, np.uint8), strict=True):
        file = io.BytesIO()
        order = np.asfortranarray if "test" in part else np.ascontiguousarray
        np.save(file, order(array.reshape(shapes[part]).astype(kind)))
        found[f"{part[::-1]}.dat"] = file.getvalue()
    return found


CSV = "fashion-mnist_{}.csv"
# the files of each form, by their names below the folder that is given
FORMS = {
    "torchvision's folder": lambda files: {f"raw/{name}": content for name, content in files.items()},
    "torchvision's root, and all": lambda files: {
        f"FashionMNIST/raw/{name}": content for name, content in {**files, **_gzipped(files)}.items()
    },
    "a clone of the repository": lambda files: {
        "data/fashion/__init__.py": b"",
        "data/mnist/README.md": b"Download MNIST",
        "utils/mnist_reader.py": b"def load_mnist",
        **_gzipped(files, "data/fashion/{}.gz"),
    },
    "dots": lambda files: {name.replace("-idx", ".idx"): content for name, content in files.items()},
    "upper case": lambda files: {f"{name.upper()}": content for name, content in files.items()},
    "a browser's second copy": lambda files: _gzipped(files, "{} (1).gz"),
    "plain, called gz": lambda files: {f"{name}.gz": content for name, content in files.items()},
    "gzip, called plain": lambda files: _gzipped(files, "{}"),
    "names that say nothing": lambda files: {f"{n}.bin": content for n, content in enumerate(files.values())},
    "deep below": lambda files: {f"a/b/c/d/e/f/{name}": content for name, content in files.items()},
    "Keras' arrays": lambda files: {"fashion-mnist.npz": npz(files)},
    "arrays of other shapes and kinds": _other_arrays,
    "Kaggle's pair": lambda files: tables(files, csv, CSV),
    "a pair without names": lambda files: tables(files, lambda *data: csv(*data, names=False), "{}.txt"),
    "a packed pair": lambda files: _gzipped(tables(files, csv, CSV)),
    "Kaggle's archive of text": lambda files: {"archive.zip": zipped(tables(files, csv, CSV))},
    "Kaggle's archive": lambda files: {"archive (2).ZIP": zipped({**tables(files, csv, CSV), **files})},
    "an archive of packed files": lambda files: {"x.zip": zipped(_gzipped(files, "fashion/{}.gz"))},
    "an archive of arrays": lambda files: {"x.zip": zipped({"keras/fashion-mnist.npz": npz(files)})},
    "a data hub's tables": lambda files: tables(files, parquet, "fashion_mnist/{}-00000-of-00001.parquet"),
    "some of each": lambda files: {
        **dict(list(_gzipped(files).items())[:1]),
        **tables(files, csv, CSV),
        "t10k-images-idx3-ubyte": b"",
    },
}


def write_form(form: str, files: dict[str, bytes], folder: Path) -> None:
    """Write one of `FORMS` into a folder, which is emptied."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in FORMS[form](files).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
