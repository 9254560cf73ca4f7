"""What per-item results add: paired tests, falls, and metrics that move with the log-probabilities."""
