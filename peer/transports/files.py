"""How many files a process may have open: connections are files, and checkpoints need some, too."""

MOST_CONNECTIONS = 256  # incoming ones: twice as many as there can be neighbours and strangers with a stream


def most_connections() -> int:
    """How many incoming connections a listener may have: at most half of the files that this process may open.

    The other half is for checkpoints, for the connections that this peer itself dials, and for what is open already.
    """
    try:
        import resource
    except ImportError:  # Windows: the limit is far higher
        return MOST_CONNECTIONS
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_CONNECTIONS if limit == resource.RLIM_INFINITY else min(MOST_CONNECTIONS, max(1, limit // 2))
