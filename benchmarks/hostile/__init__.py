"""Hostile callers and faults, tried on real servers: what each of them gets, and what it costs the others."""
