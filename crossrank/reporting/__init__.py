"""Numbers and pictures that reports share."""
