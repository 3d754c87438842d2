"""A web page of a live group: who is there, who hears whom, what they learn. It asks, and changes nothing."""
