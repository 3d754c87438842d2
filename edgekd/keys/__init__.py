"""The keys by which peers prove who they are: X.509 certificates (gRPC) and CURVE keys (ZeroMQ)."""
