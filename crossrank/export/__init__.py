"""From a Hugging Face directory to a ranker: convert, quantise, compare with PyTorch, and only then put in place."""
