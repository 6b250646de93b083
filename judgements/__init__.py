"""Judged data and what is measured on it: readers and writers, BM25, measures, significance."""
