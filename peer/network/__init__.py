"""The network side of a peer: an asyncio loop in a thread of its own."""
