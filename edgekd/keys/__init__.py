"""The keys by which peers know one another: X.509 certificates (gRPC) and CURVE keys (ZeroMQ)."""
