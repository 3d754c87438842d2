"""The training side of a peer: the loop around a learner, and what it writes."""
