"""Evaluation of rankings: metrics, significance, baselines, comparison of systems, verdicts."""
