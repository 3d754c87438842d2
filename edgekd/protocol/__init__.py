"""The protocol between peers as pure data and state machines: no sockets, threads or clocks."""
