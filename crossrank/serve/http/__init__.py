"""HTTP beside gRPC: the dialects of rerank clients, each one adapter around the requests and responses of the contract."""
