"""What is in a folder of images, and what is wrong with it, before a minute is spent: `python -m compare.inspect`.

It reads every image once, as a training does, which finds them decoded then. Nothing in the folder is written.
"""

import os
import sys

if not __package__:  # run as a file: then its own folder, which has an `inspect` as Python does, is on the path
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))

import argparse
import collections
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compare.doctor import Finding, show
from compare.system.command import Parser, place, run_command, whole_number
from compare.system.errors import EXIT_DONE, EXIT_FAILED, UserError, in_a_line, printable
from compare.training.options import add_folder_options

if TYPE_CHECKING:  # so that --help need not wait for NumPy
    import numpy as np

    from compare.data.reading import Reading
    from compare.findings.folder import Folder

EXAMPLES = """examples:
  python -m compare.inspect photos                  what is wrong with the folder photos
  python -m compare.inspect photos --out look       and a page with the pictures of that, in look/index.html
  python -m compare.inspect photos --group-by 'patient-([0-9]+)'
"""
NUM_PAGE_BYTES = 5_000_000
NUM_CLASSES, NUM_NAMED = 30, 5  # that are listed here; the page and --json have all


def main() -> int:
    """Read, look, tell, and say whether a training could begin."""
    arguments = parse()
    from compare.data import image_folder
    from compare.data.reading import read
    from compare.findings import folder as findings

    check(arguments)
    try:
        reading = read(
            arguments.folder,
            image_size=arguments.image_size,
            fit="crop",
            split=arguments.split,
            group_by=arguments.group_by,
            most_unreadable=1.0,
        )
    except UserError as error:  # a training would say the same
        raise UserError(error.came, error.expected, error.advice, exit_code=EXIT_FAILED) from error
    found = findings.find(reading)
    refused = image_folder.problems(reading, allow_leaks=False)
    if arguments.json:
        print(json.dumps(as_json(reading, found, refused), indent=1))
    else:
        show(told(reading, found, refused))
    if arguments.out is not None:
        from compare.page import inspection
        from compare.runs import out_folder

        with out_folder.claim(arguments.out, new=True):
            page = inspection.write_page(arguments.out, reading, found, refused)
        if not arguments.json:
            print(page)
    for one in refused:
        print(one, file=sys.stderr)
    return EXIT_FAILED if refused else EXIT_DONE


def check(arguments: argparse.Namespace) -> None:
    """Refuse what is no folder, and an --out within it or that cannot be written."""
    folder = arguments.folder
    if not os.path.isdir(folder):
        raise UserError(f"{printable(str(folder))} is no folder", "a folder of images", "name one")
    if arguments.out is not None:
        from compare.runs import out_folder

        if Path(os.path.realpath(arguments.out)).is_relative_to(os.path.realpath(folder)):
            raise UserError(
                f"--out {arguments.out}, which lies in {folder}",
                "another place: nothing is written into a folder of images",
                "name a folder elsewhere",
            )
        out_folder.check(arguments.out, NUM_PAGE_BYTES)


def told(reading: "Reading", found: "Folder", refused: list[UserError]) -> list[Finding]:
    """What was found, a line each, with what to do about it."""
    from compare.data.image_folder import summary
    from compare.findings.folder import EMPTY, NEAR, PARTS, TINY, across_first, is_across

    def names(rows: "Sequence[int] | np.ndarray") -> str:
        said = [in_a_line(reading.found[row].file.name) for row in rows[:NUM_NAMED]]
        return ", ".join([*said, *["…"] * (len(rows) > NUM_NAMED)])

    def sets(some: "Sequence[Sequence[int] | np.ndarray]") -> str:
        said = [" = ".join(in_a_line(reading.found[row].file.name) for row in rows[:2]) for rows in some[:NUM_NAMED]]
        return "; ".join([*said, *["…"] * (len(some) > NUM_NAMED)])

    first, second, *_ = summary(reading)
    median = "×".join(map(str, found.sizes[1]))
    findings = [
        Finding("folder", first),
        Finding("sizes", f"{second.strip().partition(';')[0]}, in the middle {median}"),
        Finding("formats", ", ".join(f"{name} {number:,}" for name, number in found.formats.items())),
        Finding("modes", ", ".join(f"{name} {number:,}" for name, number in found.modes.items())),
    ]
    listed = list(zip(reading.layout.class_names, found.counts.tolist(), strict=True))
    for name, counts in listed[:NUM_CLASSES]:
        words = ", ".join(f"{part} {number:,}" for part, number in zip(PARTS, counts, strict=True) if number)
        findings.append(Finding(f"class {printable(name)}", words or "none"))
    if len(listed) > NUM_CLASSES:
        findings.append(Finding("classes", f"{len(listed) - NUM_CLASSES:,} more: --json and --out list all"))
    if reading.unreadable:
        kinds = collections.Counter(problem.kind for _, problem in reading.unreadable)
        endings = collections.Counter(file.path.suffix.lower() or "none" for file, _ in reading.unreadable)
        said = ", ".join(f"{kind} {number:,}" for kind, number in kinds.most_common())
        ended = ", ".join(f"{in_a_line(ending)} {number:,}" for ending, number in endings.most_common(NUM_NAMED))
        said += f"; endings: {ended}"
        named = "; ".join(in_a_line(f"{file.name}: {problem}") for file, problem in reading.unreadable[:NUM_NAMED])
        advice = f"mend or remove them: {named}{'; …' if len(reading.unreadable) > NUM_NAMED else ''}"
        findings.append(Finding("unreadable", f"{len(reading.unreadable):,}: {said}", advice))
    if reading.beside:
        said = f"{sum(reading.beside.values()):,}, passed over: {reading.endings_beside}"
        findings.append(Finding("other files", said))
    for topic, of, advice in (
        ("copies, test", reading.parts == "test", "remove those on one side"),
        ("copies, classes", reading.labels, "mend the labels"),
        ("copies", None, "nothing, or remove them: they count several times"),
    ):
        some = found.copies if of is None else [across_first(rows, of) for rows in found.copies if is_across(rows, of)]
        if some:
            findings.append(Finding(topic, f"sets of the same pixels, {len(some):,}: {sets(some)}", advice))
    if found.near:
        pairs = [pair[:2] for pair in found.near]
        said = f"nearly the same on two sides (up to {NEAR} of 64 bits), {len(pairs):,}: {sets(pairs)}"
        findings.append(Finding("near copies", said, "look at them (--out): are they of one source?"))
    if found.without_test:
        without = [printable(reading.layout.class_names[label]) for label in found.without_test]
        said = f"{len(without):,} of the classes: {', '.join(without[:NUM_NAMED])}{', …' * (len(without) > NUM_NAMED)}"
        findings.append(Finding("without test", said, "nothing is said of how well they are recognised"))
    said = f"the largest class has {found.imbalance:.1f} times the images of the smallest"
    findings.append(Finding("imbalance", said))
    for topic, rows, words in (
        ("tiny", found.tiny, f"a side below {TINY} pixels"),
        ("nearly empty", found.empty, f"grey levels that spread less than {EMPTY:g} of 255"),
        ("several frames", found.animated, "of which the first is taken"),
    ):
        if len(rows):
            advice = "" if topic == "several frames" else "look at them"
            findings.append(Finding(topic, f"{len(rows):,}, {words}: {names(rows)}", advice))
    if found.groups is not None:
        most = max(map(len, found.groups.values()))
        findings.append(Finding("groups", f"{len(found.groups):,}, of up to {most:,} images"))
    findings += [Finding("refused", error.came.partition("\n")[0], error.advice, blocks=True) for error in refused]
    return findings


def as_json(reading: "Reading", found: "Folder", refused: list[UserError]) -> dict[str, Any]:
    """What was found, for programs; images by their names in the folder."""
    from compare.findings.folder import PARTS

    names = [in_a_line(one.file.name) for one in reading.found]
    class_names = reading.layout.class_names
    return {
        "folder": printable(str(reading.folder)),
        "layout": reading.layout.kind,
        "held_out_here": not reading.has_own_test,
        "num_images": len(names),
        "classes": {
            name: dict(zip(PARTS, counts, strict=True))
            for name, counts in zip(class_names, found.counts.tolist(), strict=True)
        },
        "sizes": dict(zip(("least", "median", "largest"), found.sizes.tolist(), strict=True)),
        "formats": found.formats,
        "modes": found.modes,
        "unreadable": [
            {"file": in_a_line(file.name), "kind": problem.kind, "reason": in_a_line(str(problem))}
            for file, problem in reading.unreadable
        ],
        "other_files": reading.beside,
        "copies": [[names[row] for row in rows] for rows in found.copies],
        "leaks": [
            [names[reading.copied[row]], names[row]]
            for row in range(len(names))
            if reading.parts[row] == "test" and reading.copied[row] >= 0
        ],
        "near": [{"files": [names[row], names[other]], "bits": bits} for row, other, bits in found.near],
        "without_test": [class_names[label] for label in found.without_test],
        "imbalance": found.imbalance,
        "tiny": [names[row] for row in found.tiny],
        "nearly_empty": [names[row] for row in found.empty],
        "several_frames": [names[row] for row in found.animated],
        "groups": None
        if found.groups is None
        else {in_a_line(name): [names[row] for row in rows] for name, rows in found.groups.items()},
        "refused": [{"came": error.came, "expected": error.expected, "advice": error.advice} for error in refused],
    }


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(
        prog="python -m compare.inspect",
        description="What is in a folder of images, and what is wrong with it, before anything is trained. Exit codes: "
        "0 a training could begin, 1 it would refuse the folder, 2 wrong use.",
        epilog=EXAMPLES,
    )
    parser.add_argument("folder", type=place, metavar="FOLDER", help="a folder of images, as --data takes it")
    size = whole_number("--image-size", 8, "leave it out for 64", maximum=4096)
    parser.add_argument(
        "--image-size", type=size, metavar="N", help="pixels a side that images are looked at with (64)"
    )
    add_folder_options(parser)
    how = parser.add_argument_group("how it is told")
    how.add_argument("--json", action="store_true", help="for programs, on standard output")
    how.add_argument("--out", type=place, metavar="DIR", help="new folder for a page with the pictures")
    return parser.parse_args()


if __name__ == "__main__":
    run_command(main)
