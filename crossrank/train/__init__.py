"""Training of cross-encoder rerankers, and the making of training data for it."""
