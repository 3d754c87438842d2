"""Experiments: grids of simulations, their results on disk, and what they say about the paper's findings."""
