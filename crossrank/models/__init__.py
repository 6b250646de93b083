"""PyTorch models: cross-encoders and bi-encoders, opened without pickle and without remote code."""
