"""The running process: sockets, clock, threads. Calls `edgekd`, which never imports this."""
