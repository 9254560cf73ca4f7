"""Value on model size, training and their interaction, by the paper's regression and others beside it."""
