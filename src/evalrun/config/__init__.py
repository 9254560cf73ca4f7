"""What a user asks for, typed: the shape of conf/, the mistakes in it, steps and the names of checkpoints."""
