"""What surrounds a training, alike in every branch.

options      the words of the command line that commands which train share
recipe       what a recipe is here: the fields that every branch's has
recipe_file  a recipe out of a TOML file
preparation  what is checked before the first minute of training: the command line becomes a job
crops        what training shows of a photograph, and what the test does
job          the training itself, but for the framework: checkpoints, rows
ending       what follows its last epoch
looking      what a branch gives for pictures: probabilities, features, and where it looked
predicting   the process in which it does so for a finished run
exporting    the process in which it writes the network of one for other programs
stopping     how its process begins, and how it is told to stop
range_test   which step size to take
schedule     its step size, as it changes
limits       what a device, or the numbers, cannot do, in words
estimate     how long it will take
trackers     what it sends to TensorBoard, MLflow or Weights & Biases
progress     its lines and bars, on the terminal and in its log
"""
