"""What a server tells of itself: logs, metrics and traces, without texts."""
