"""What carries frames between peers: gRPC, ZeroMQ, and memory for tests."""
