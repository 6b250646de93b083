"""Adapters to retrieval frameworks, for who wants no server: each module needs its framework, and nothing else does."""
