"""Ratings of answers: their SQLite store, its reader, and the training rows that come of them."""
