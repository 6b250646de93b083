"""Inference without PyTorch: rankers on disk, tokenising, batching, ONNX Runtime sessions, scores."""
