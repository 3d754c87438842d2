"""One learner: its network, optimiser, training step and evaluation."""
