"""What there is: `python -m compare`, and `scratch-or-pretrained` where this is installed. Both run it, too."""

import os
import sys

if not __package__:  # run as a file: then its own folder, which has an `inspect` as Python does, is on the path
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))

import runpy

from compare import start
from compare.system.command import run_command
from compare.system.errors import EXIT_DONE, UserError

COMMANDS = {
    "run": ("compare.run", "train from scratch, fine-tune a pretrained network, and report which was better"),
    "report": ("compare.report", "a report from finished runs, without training"),
    "inspect": ("compare.inspect", "what is in a folder of images, and what is wrong with it"),
    "predict": ("compare.predict", "what trained networks take pictures for, and where they looked"),
    "export": ("compare.export", "a trained network as a file for other programs"),
    "doctor": ("compare.doctor", "what is here, what is missing, and what to do about it"),
    "scratch": ("scratch_resnet.train", "the ResNet-18 from scratch alone"),
    "pretrained": ("pretrained.train", "the frozen ResNet50 alone"),
}


def main() -> int:
    """Run the command whose word comes first, or say which there are."""
    start.check_folder(start.current_folder(), sys.path)  # which comes first for the branches' processes
    word, *words = sys.argv[1:] or ["--help"]
    if word in ("-h", "--help"):
        print("Should I train from scratch or fine-tune a pretrained network? Each of these has --help:\n")
        for name, (module, purpose) in COMMANDS.items():
            print(f"  {name:<11} or python -m {module:<21} {purpose}")
        print("\nto see it work: scratch-or-pretrained run --label-curve --demo")
        return EXIT_DONE
    if word not in COMMANDS:
        raise UserError(word, f"one of {', '.join(COMMANDS)}", "say --help to see what each does")
    sys.argv[1:] = words
    runpy.run_module(COMMANDS[word][0], run_name="__main__", alter_sys=True)  # ends the process
    return EXIT_DONE


def command() -> None:
    """The console command."""
    run_command(main)


if __name__ == "__main__":
    command()
