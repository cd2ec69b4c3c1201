"""
Superpackets that are joined from segments, as the kernel takes them: between two kernels, each on a TUN device.
"""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.real.lab.link import setUp
from tests.real.lab.namespace import Namespace, another
from txtuntap.device import TUN
from txtuntap.device.linux import LinuxDevice
from txtuntap.device.linux.namespace import inNamespace
from txtuntap.wire.joining import joined
from txtuntap.wire.offload import TSO4, TSO6

DATA = bytes(number * 7 & 0xFF for number in range(1 << 20))

#: The addresses of this kernel and of the other one.
HERE = {socket.AF_INET: "10.9.0.1", socket.AF_INET6: "fd09::1"}
THERE = {socket.AF_INET: "10.9.0.2", socket.AF_INET6: "fd09::2"}


def _unchanged(packet: bytes) -> bytes:
    return packet


class Relay:
    """
    Two devices, and a thread that passes packets between them. Segments of one read are joined.

    @ivar superpackets: the number of superpackets that were written.
    @ivar read: the lengths of all packets that were read.
    """

    def __init__(self, namespace: int, change: Callable[[bytes], bytes]) -> None:
        self.superpackets = 0
        self.read: set[int] = set()
        self._change = change
        self._devices = LinuxDevice("tj0", TUN), LinuxDevice("tj0", TUN, namespace=namespace)
        self._ending, self._end = socket.socketpair()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Relay:
        for device in self._devices:
            device.open(True)
            device.receiveFinished()
        return self

    def start(self) -> None:
        """
        Begin to pass packets. Both interfaces are up.
        """
        self._thread.start()

    def __exit__(self, *ignored: object) -> None:
        self._end.close()
        self._thread.join()
        self._ending.close()
        for device in self._devices:
            device.close()

    def _run(self) -> None:
        while True:
            ready, _, _ = select.select([each.fileno() for each in (self._ending, *self._devices)], [], [])
            if self._ending.fileno() in ready:
                return
            for device, other in self._devices, self._devices[::-1]:
                packets: list[bytes] = []
                while len(packets) < 64 and (packet := device.receive()) is not None:
                    assert packet.offload is None
                    packets.append(self._change(bytes(packet)))
                    self.read.add(len(packet))
                for buffers, offload in joined(packets, TSO4 | TSO6):
                    self.superpackets += offload is not None
                    other.send(buffers) if offload is None else other.send(buffers, offload)


@contextmanager
def relayed(change: Callable[[bytes], bytes] = _unchanged) -> Iterator[tuple[Relay, int]]:
    """
    Make another namespace, and a relay to it.
    """
    with another() as namespace, Relay(namespace, change) as relay:
        setUp("tj0", *(f"{address}/{24 if '.' in address else 64}" for address in HERE.values()))
        inNamespace(
            namespace, lambda: setUp("tj0", *(f"{each}/{24 if '.' in each else 64}" for each in THERE.values()))
        )
        relay.start()
        yield relay, namespace


def _send(client: socket.socket) -> None:
    client.sendall(DATA)
    client.shutdown(socket.SHUT_WR)


def transferred(namespace: int, family: socket.AddressFamily) -> bytes:
    """
    Send the data from this kernel to the other one, and return what has come.
    """

    def listening() -> socket.socket:
        return socket.create_server((THERE[family], 80), family=family)

    with inNamespace(namespace, listening) as server, socket.create_connection((THERE[family], 80), 20) as client:
        server.settimeout(20)
        taken, _ = server.accept()
        taken.settimeout(20)
        sending = threading.Thread(target=_send, args=(client,))
        sending.start()
        received = b""
        with taken:
            while data := taken.recv(1 << 16):
                received += data
        sending.join()
    return received


def checksumErrors(namespace: int) -> int:
    """
    The number of segments with wrong checksums that a kernel has counted.
    """

    def counted() -> int:
        lines = [
            line.split() for line in Path("/proc/thread-self/net/snmp").read_text().split("\n") if line[:4] == "Tcp:"
        ]
        return int(dict(zip(*lines, strict=True))["InCsumErrors"])

    return inNamespace(namespace, counted)


def test_theKernelTakesWhatIsJoined(namespace: Namespace) -> None:
    with relayed() as (relay, there):
        for family in HERE:
            before = relay.superpackets
            assert transferred(there, family) == DATA
            assert relay.superpackets > before + 10
        # The kernel has cut and summed all that was read.
        assert max(relay.read) == 1500
        assert checksumErrors(there) == 0


def test_theKernelDropsWhatWasCorrupted(namespace: Namespace) -> None:
    full = 0

    def spoil(packet: bytes) -> bytes:
        nonlocal full
        full += len(packet) == 1500
        if len(packet) < 1500 or full not in (100, 300):
            return packet
        return packet[:1000] + bytes([packet[1000] ^ 4]) + packet[1001:]

    with relayed(spoil) as (relay, there):
        for family in HERE:
            full = 0
            before = checksumErrors(there)
            assert transferred(there, family) == DATA
            assert relay.superpackets
            assert full > 300
            assert checksumErrors(there) > before
