"""Dissimilarity measures, combinations of teachers, trust in teachers, and the distillation loss."""
