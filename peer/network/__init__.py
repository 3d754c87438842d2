"""The network side of a peer: an asyncio loop in its own thread."""
