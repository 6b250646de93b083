"""Calls that wait for runs: whose turn it is, batches, and the workers."""
