"""A job's folder: the results that it computed, each whole before the next begins, and what the job is at."""
