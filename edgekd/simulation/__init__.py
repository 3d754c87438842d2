"""Simulations: many learners in one process, in lockstep or under a virtual clock."""
