"""What items of a task do over training: learned, lost, regained; and which answers took over."""
