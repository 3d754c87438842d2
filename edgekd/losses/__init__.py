"""Dissimilarity measures, combinations of teachers, trust, and the distillation loss made of them."""
