"""Should I train from scratch or fine-tune a pretrained network? The part that answers, free of any framework.

    command   option types, errors and exit codes that every command shares
    progress  the lines and bars of a run, on the terminal and in its log
    download  one file from the first mirror that serves it right
    dataset   the images and labels that both branches see
    machine   what a run ran on
    disk      writing files whole or not at all
    record    a run on disk: written by the branches, read by everything below
    job       what surrounds the training in both branches

    metrics   what is computed from runs: arrays in, plain numbers out
    figures   what is drawn from them, with matplotlib
    words     how the report calls things
    banners   the warnings at its top
    page      what the report says: sentences, tables, pictures, as plain data for its template
    report    what is written from both: `python -m compare.report RUN [RUN …]`
    run       the main command: `python -m compare.run --both`

The branches use the upper half only; nothing here imports a branch or a deep-learning framework.
"""
