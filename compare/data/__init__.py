"""The images and labels that every branch sees.

dataset      the data sets by name, and the split
recognition  their files of any name and form, by what they hold
download     one file from the first mirror that serves it right
corruptions  copies of images that are harder to recognise, for --robustness
"""
