"""Benchmarks of crossrank against other engines and trainers: for its authors, not part of the wheel."""
