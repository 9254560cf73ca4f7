"""`watch`: a training run's checkpoints, each evaluated as it appears complete and held against those before it.

scan      which checkpoints are there, complete and at rest
loop      one checkpoint: evaluate, deliver, compare, warn; and the loop over them
alarm     the comparison: a pure function of results
hooks     the user's own command and address
render    what is printed
command   the words of the command line
"""
