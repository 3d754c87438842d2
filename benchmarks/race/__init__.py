"""A race of edgekd and what else could be used: the same images, network, optimiser and steps on the same boxes."""
