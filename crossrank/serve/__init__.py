"""The server: gRPC services around the inference engine, admission, metrics, settings."""
