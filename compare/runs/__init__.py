"""The run on disk: what a branch hands over, and the only thing that findings and page are made of.

record      a run: written by the branches, read by everything else
features    the inside of its network: what a new picture is compared with, and where it looked
schema      what it must hold to be believed, a field a line
saving      one out of arrays, of any other program: `from compare import save_run`
format_1    records of the first format, as ones of today
checkpoint  one that is not complete: what it goes on from
out_folder  where it is to be written, checked and claimed
"""
