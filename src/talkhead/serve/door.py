"""The socket on which a program of ours listens."""

import socket

from talkhead.errors import Code, TalkheadError

BACKLOG = 2048


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens there (port 0: a free one), or raise E_INPUT_VALIDATION."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's delays off only where a socket says that it is TCP
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise TalkheadError(
            Code.INPUT,
            f"cannot listen on {host}, port {port}: {error.strerror}",
            "choose another --port (0 takes a free one) or --host",
        ) from error
    return sock
