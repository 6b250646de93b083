"""Benchmarks of a user's own ranker: load, ranking quality, capacity, and what changed between two results."""
