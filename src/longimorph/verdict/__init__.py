"""The verdict on a pair: whether its numbers can be trusted."""
