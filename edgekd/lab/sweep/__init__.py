"""A grid of simulations: its cells, where they run, their results on disk."""
