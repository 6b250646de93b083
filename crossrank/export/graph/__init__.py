"""ONNX graphs of a cross-encoder: converted by optimum, or written anew from its weights, and read back."""
