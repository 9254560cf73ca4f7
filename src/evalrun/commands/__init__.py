"""The commands: each takes its words, prints, and returns the exit code."""
