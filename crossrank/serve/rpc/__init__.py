"""gRPC: services, and how a call is received, observed and answered."""
