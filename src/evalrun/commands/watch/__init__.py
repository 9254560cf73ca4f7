"""`watch`: the checkpoints of training runs, each evaluated as it appears complete and held against those before it.

watch_request  the words, and what they come to for each run's folder
run_folders    the folders that patterns stand for
run_list       the runs that are watched
scan           which checkpoints of a run are there, complete and at rest
watched_run    one run over time: done, judged, waiting, failed
backoff        when what failed is tried again
jobs_left      what of a look has results already
evaluating     the rest: here, or by a launcher
judge          one look at a checkpoint with results, at its part of the training's level
alarm          the comparison: a pure function of results
loop           all of it, over and over
hooks          the user's own command and address
render         what is printed
command        the words of the command line
"""
