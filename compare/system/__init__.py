"""What every other wing stands on: the machine, the terminal and the process; it knows nothing of images or runs.

errors       what is said where something is wrong, and the exit codes
command      how every command begins and ends: the types of its words, its exit code
environment  what of the environment changes results, and how many threads compute
display      a terminal that is gone, or cannot show a character, stops nothing
processes    those that end with the one that began them, and those that train together
disk         writing files whole or not at all, and reading them within bounds
machine      what a run ran on
"""
