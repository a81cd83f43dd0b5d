"""What is computed from runs: arrays in, plain numbers out.

findings     of a list of runs: everything, computed once
metrics      of the predictions of one run, and of two image by image
history      of the rows of a training: how it ended, how fast it was
calibration  of their confidence
baseline     what a network should beat: logistic regression on the pixels
label_curve  of runs on several numbers of labels: where strategies cross
folder       of a folder of images: copies, imbalance, what is tiny or empty
robustness   of what they predict for corrupted images
"""
