"""A grid of simulations (a sweep): its cells, where they run, and their results on disk."""
