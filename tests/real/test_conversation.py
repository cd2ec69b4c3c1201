"""
Run the script of L{tests.conversation} between a host of txtuntap and Linux.
"""

from __future__ import annotations

import socket
import subprocess
from threading import Thread
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.selectreactor import SelectReactor
from twisted.trial.unittest import SynchronousTestCase

from tests.conversation import ECHO, OURS, STEPS, THEIRS, ConversationMixin, resultOf
from tests.real.lab.link import setUp as setLinkUp
from tests.real.lab.namespace import Namespace, need, tool
from tests.recorders import Echo
from txtuntap import Host, TuntapPort

INTERFACE = "tt0"


class TAPTests(ConversationMixin, SynchronousTestCase):
    """
    The host runs in this process, on a reactor that is not the installed one. The reactor turns while the test waits
    for something.
    """

    kind = "tap"

    def setUp(self) -> None:
        need()
        self.namespace = Namespace()
        self.namespace.open()
        self.addCleanup(self.namespace.close)
        self.reactor: Any = SelectReactor()
        self.addCleanup(lambda: self.reactor.waker.connectionLost(None))
        self.host = Host(OURS, self.reactor)
        self.host.listenUDP(ECHO, Echo())
        top = self.host.ethernet if self.kind == "tap" else self.host.ip
        self.port = TuntapPort(INTERFACE, top, reactor=self.reactor)
        self.port.startListening()
        self.addCleanup(lambda: self.wait(self.port.stopListening()))
        setLinkUp(INTERFACE, *THEIRS)
        self.echoes = [self.echo(socket.AF_INET, "0.0.0.0"), self.echo(socket.AF_INET6, "::")]

    def echo(self, family: int, address: str) -> Thread:
        """
        Start an echo server of Linux: a thread that ends at a datagram to itself.
        """
        server = socket.socket(family, socket.SOCK_DGRAM)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        if family == socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        server.bind((address, ECHO))

        def serve() -> None:
            with server:
                while True:
                    data, peer = server.recvfrom(65536)
                    if peer[0] in ("127.0.0.1", "::1"):
                        return
                    server.sendto(data, peer)

        def end() -> None:
            with socket.socket(family, socket.SOCK_DGRAM) as ending:
                ending.sendto(b"", ("127.0.0.1" if family == socket.AF_INET else "::1", ECHO))
            thread.join()

        thread = Thread(target=serve)
        thread.start()
        self.addCleanup(end)
        return thread

    def turn(self) -> None:
        """
        Run one turn of the reactor.
        """
        self.reactor.iterate(0.005)

    def wait(self, waited: Deferred[Any]) -> Any:
        return resultOf(waited, self.turn)

    def peerPings(self, address: str, size: int, timeout: int = 10) -> bool:
        broadcast = ["-b"] if address.endswith(".255") else []
        command = [tool("ping"), "-n", "-q", "-c", "1", "-W", str(timeout), "-s", str(size), *broadcast, address]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None:
                self.turn()
        return process.returncode == 0

    def peerAsks(self, address: str, port: int, data: bytes) -> bytes:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect((address, port))
            client.setblocking(False)
            client.send(data)
            for _ in range(STEPS):
                try:
                    return client.recv(65536)
                except BlockingIOError:
                    self.turn()
        raise AssertionError("no answer")


class TUNTests(TAPTests):
    kind = "tun"
