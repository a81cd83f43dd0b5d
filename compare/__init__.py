"""Should I train from scratch or fine-tune a pretrained network? The part that answers, free of any framework.

    start     what must hold before anything else is imported
    command   option types, errors and exit codes that every command shares
    environment  what of the environment changes results, and how many threads compute
    progress  the lines and bars of a run, on the terminal and in its log
    estimate  how long a training will take
    download  one file from the first mirror that serves it right
    dataset   the images and labels that both branches see
    machine   what a run ran on
    disk      writing files whole or not at all
    corruptions  copies of images that are harder to recognise, for --robustness
    schema    what a run must hold to be believed
    record    a run on disk: written by the branches, read by everything below
    checkpoint  a run that is not complete: what it goes on from
    out_folder  where a run or a report is to be written, checked and claimed
    preparation  what is checked before the first minute of training: the command line becomes a job
    job       what surrounds the training in both branches

    metrics   what is computed from runs: arrays in, plain numbers out
    calibration  the same of a run's confidence
    figures   what is drawn from them, with matplotlib
    language  English and Chinese: every text of the report is said by `say`
    chinese   the catalogue of translations
    words     how the report calls things
    banners   the warnings at its top
    shown     a run as it shows it: its name, its look, and all its results
    verdict   what it says first, in sentences, and what could change that
    audit     whether the comparison can be trusted, question by question
    gallery   the test images on the page
    pictures  what is drawn of which runs, and what it shows in words
    tables    its tables of text
    page      what the report says: all of this as plain data for its template
    report_files  the same for programs: report.json and metrics.csv
    listing   reports/index.html
    checks    thresholds that a script may set: `--require`
    report    what is written from all of it: `python -m compare.report RUN [RUN …]`
    comparison  the same from Python and in notebooks: `from compare import load_run, compare_runs`
    run       the main command: `python -m compare.run --both`
    doctor    what is here, what is missing, and what to do: `python -m compare.doctor`
    __main__  what there is: `python -m compare`

The branches use the upper half only; nothing here imports a branch or a deep-learning framework.
"""

from compare import start

start.check()

_FROM_PYTHON = ("load_run", "compare_runs")


def __getattr__(name: str):
    # only when they are asked for: they bring NumPy, matplotlib and scikit-learn
    if name in _FROM_PYTHON:
        from compare import comparison

        return getattr(comparison, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
