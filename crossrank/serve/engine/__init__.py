"""From a request to scores: parsing, admission, the engine of each ranker, and their registry and reload."""
