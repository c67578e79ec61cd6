"""Whether the numbers of a pair can be trusted."""
