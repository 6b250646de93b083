"""How clients reach a server: address, deadline, retries and limits."""

import json

from crossrank.v1 import ranker_pb2

DEFAULT_TARGET = "127.0.0.1:50051"

TIMEOUT = 30.0
_RETRIES = {
    "methodConfig": [
        {
            "name": [{"service": service.full_name} for service in ranker_pb2.DESCRIPTOR.services_by_name.values()],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
            },
        }
    ]
}
OPTIONS = (
    # A request that does not fit into this buffer, 256 KiB by default, is never tried again.
    ("grpc.per_rpc_retry_buffer_size", 64 * 1024 * 1024),
    ("grpc.service_config", json.dumps(_RETRIES)),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
)
