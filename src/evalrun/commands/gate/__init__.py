"""`gate`: may this checkpoint go on? Each task against a reference, by intervals; an exit code and files for CI."""
