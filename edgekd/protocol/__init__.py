"""The protocol between peers: plain data, pure functions and state machines, without sockets, threads or clocks."""
