"""From the words of the command line to the jobs of a sweep: which checkpoints, which tasks, under which keys."""
