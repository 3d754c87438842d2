"""The transports of frames between peers: gRPC, ZeroMQ, and memory for tests."""
