"""The images and labels that every branch sees.

images         what a data set is, and what is computed of any
dataset        one by name, or from what the user has; the split
fashion_mnist  found, or downloaded
digits         scikit-learn's
image_folder   a folder of images
reading        it as it is read, whatever is wrong with it
layouts        which of its files are of which class, and on which side of the split
decoding       how one file becomes pixels
sides          what is held out to test with, and what lies on both sides
arrays         an .npz file
tables         Parquet and CSV
recognition    Fashion-MNIST's files of any name and form, by what they hold
download       one file from the first mirror that serves it right
corruptions    copies of images that are harder to recognise, for --robustness
"""

# What `--data` takes beside a folder's and a file's name. Each is loaded by the module here that is called so,
# with _ for -.
NAMES = ("fashion-mnist", "digits")
