"""HTTP beside gRPC: each dialect of rerank clients is one adapter around the requests and responses of the contract."""
