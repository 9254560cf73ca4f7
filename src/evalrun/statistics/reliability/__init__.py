"""How much of a difference is noise: of checkpoints, of training seeds, of items."""
