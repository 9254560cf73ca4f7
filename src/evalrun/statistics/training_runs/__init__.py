"""Training runs held against each other over training: one run or several seeds of two recipes."""
