"""Serving, without PyTorch: tokenise, schedule, run the session, order; and the gRPC server around it."""
