"""The socket that our programs listen on."""

import asyncio
import socket

import pytest

from talkhead.errors import Code, TalkheadError
from talkhead.serve.door import listening
from talkhead.serve.serving import address


def test_small_answers_are_sent_at_once() -> None:
    """With Nagle's algorithm an answer's body waits 40 ms for the peer to confirm its head."""

    async def no_delay() -> int:
        found: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            sock = writer.get_extra_info("socket")
            found.set_result(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        with listening("127.0.0.1", 0) as sock:
            async with await asyncio.start_server(answer, sock=sock):
                _, caller = await asyncio.open_connection(*sock.getsockname())
                set_to = await found
                caller.close()
        return set_to

    assert asyncio.run(no_delay())


def test_a_port_that_is_taken_is_named() -> None:
    with listening("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
        assert address(sock) == f"http://127.0.0.1:{port}"
        with pytest.raises(TalkheadError, match=f"port {port}") as found:
            listening("127.0.0.1", port)
    assert found.value.code == Code.INPUT
