"""A ranker's directory: its manifest, files and golden pairs, checked before anything is run."""
