"""Readers and writers of ranking data: evaluation sets (BEIR layout), training examples, TREC runs; BM25."""
