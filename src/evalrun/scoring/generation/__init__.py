"""Texts that a model writes: what is asked, when it ends, and how many requests are written at once."""
