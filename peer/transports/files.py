"""A limit on incoming connections, since each is an open file and the process needs files for checkpoints, too."""

MOST_CONNECTIONS = 256  # incoming; twice the possible number of neighbours and of strangers with a stream


def most_connections() -> int:
    """The number of incoming connections that a listener may have, >= 1.

    It is at most half of the files that this process may open. The other half is for checkpoints, for the connections
    that this peer dials, and for files that are open already.
    """
    try:
        import resource
    except ImportError:  # Windows: the limit is far higher
        return MOST_CONNECTIONS
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_CONNECTIONS if limit == resource.RLIM_INFINITY else min(MOST_CONNECTIONS, max(1, limit // 2))
