"""
The peer of L{benchmarks.children.streamer}, by sockets of the kernel.

    python -m benchmarks.children.streampeer CASE ADDRESS PORT
"""

from __future__ import annotations

import selectors
import socket
import sys

#: The units of work of each case: megabytes, pages, connections, round trips.
CASES: dict[str, int] = {"receive": 96, "send": 96, "web": 2000, "connections": 800, "roundtrips": 4000}

MEGABYTE = 1_000_000

#: Connections that ask at once.
TOGETHER = 8

REQUEST = b"GET / HTTP/1.1\r\nHost: host\r\n\r\n"
PAGE_END = b"</html>\n"
QUESTION = bytes(64)


def connected(address: str, port: int) -> socket.socket:
    """
    A connection that uses CUBIC.
    """
    made = socket.socket()
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.connect((address, port))
    return made


def receive(address: str, port: int, units: int) -> None:
    """
    Send, so that the other side receives; and wait until it has all.
    """
    block = bytes(256 * 1024)
    left = units * MEGABYTE
    with connected(address, port) as peer:
        while left > 0:
            peer.sendall(block[:left])
            left -= len(block)
        peer.shutdown(socket.SHUT_WR)
        peer.recv(1)


def send(address: str, port: int, units: int) -> None:
    """
    Take what the other side sends.
    """
    buffer = bytearray(256 * 1024)
    left = units * MEGABYTE
    with connected(address, port) as peer:
        while left > 0:
            left -= peer.recv_into(buffer)


def ask(address: str, port: int, units: int, question: bytes, end: bytes) -> None:
    """
    Ask by several connections, one question at a time by each.

    @param end: the end of an answer; empty: it is as long as the question.
    """
    selector = selectors.DefaultSelector()
    asked = 0
    for _ in range(TOGETHER):
        peer = connected(address, port)
        peer.sendall(question)
        asked += 1
        selector.register(peer, selectors.EVENT_READ, bytearray())
    while selector.get_map():
        for key, _ in selector.select():
            assert isinstance(key.fileobj, socket.socket)
            peer, answer = key.fileobj, key.data
            answer += peer.recv(65536)
            if answer.endswith(end) if end else len(answer) >= len(question):
                answer.clear()
                if asked < units:
                    asked += 1
                    peer.sendall(question)
                else:
                    selector.unregister(peer)
                    peer.close()


def connections(address: str, port: int, units: int) -> None:
    """
    Open a connection, ask once, and close it; one after another.
    """
    for _ in range(units):
        with connected(address, port) as peer:
            peer.sendall(QUESTION)
            if len(peer.recv(1024)) != len(QUESTION):
                raise RuntimeError("the answer is another than the question")


def main(case: str, address: str, port: str) -> None:
    """
    Do the work of one case.
    """
    ends = address, int(port), CASES[case]
    if case == "web":
        ask(*ends, REQUEST, PAGE_END)
    elif case == "roundtrips":
        ask(*ends, QUESTION, b"")
    else:
        {"receive": receive, "send": send, "connections": connections}[case](*ends)


if __name__ == "__main__":
    main(*sys.argv[1:])
