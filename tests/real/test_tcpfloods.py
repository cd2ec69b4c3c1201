"""
Floods of TCP segments at a host that the kernel's sockets use. It serves them, logs nothing, and its memory is bounded.
"""

from __future__ import annotations

import resource
import select
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from itertools import count
from pathlib import Path
from random import Random
from unittest import SkipTest

import pytest

from tests.long import lengths
from tests.real.lab.asking import askUntilAnswered
from tests.real.lab.flooder import FORGER, Flooder
from tests.real.lab.link import MOST_UNREAD, PacketSocket, packetsRead, show
from tests.real.lab.machine import INTERFACE, STATION, Machine
from tests.real.lab.namespace import PACKAGES, PATIENCE, Namespace, need, tool, until
from tests.real.lab.streams import ECHO, SINK, much
from tests.tcp.rawpeer import segment
from txtuntap.device import TAP, TUN
from txtuntap.device.configure import configureInterface
from txtuntap.tcp.ports import BACKLOG
from txtuntap.testing import ethernetFrame
from txtuntap.wire import ethernet
from txtuntap.wire.tcp import ACK, FIN, PSH, RST, SYN, packSynOptions

pytestmark = pytest.mark.measures

FAMILIES = pytest.mark.parametrize("ours", ["10.9.0.2", "fd09::2"])

#: The greatest growth of the process's memory by a flood, in octets: the bounds of the tables that the flood fills.
MAX_GROWTH = 16 << 20

#: The SYNs a second of a flood as C{hping3 --flood} sends it.
FULL_RATE = 180_000

#: The number of clients that send at once where the queue has no room for the segments of all. The kernel would repeat
#: all lost segments at the same time, so most would be lost again.
GROUP = 100

#: A length of the device's queue that has room for the SYNs that arrive while a host waits for a processor.
LONG_QUEUE = 5000

#: A setting of the kernel: the number of its SYN timeouts that do not double. The kernel repeats a SYN within ten
#: seconds after 1, 3 and 7 seconds, or after 1, 2, 3, 4, 5 and 7 seconds.
_LINEAR = Path("/proc/sys/net/ipv4/tcp_syn_linear_timeouts")
AGAIN_IN_TEN_SECONDS = 6 if _LINEAR.exists() else 3

#: The offset of C{tcpi_total_retrans} in C{struct tcp_info} (C{linux/tcp.h}).
_RETRANSMISSIONS = struct.Struct("=100xI")


@pytest.fixture(scope="module", params=["tun", "tap"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """
    Start the host with TCP services that the tests of this module share.
    """
    need()
    directory = tmp_path_factory.mktemp("floods")
    with Namespace(), Machine(directory, request.param, streams=directory) as made:
        for address in "10.9.0.2", "fd09::2":
            askUntilAnswered(address, b"there?")
            # Connect once, because the imports and tables of the first connection are not part of a flood's growth.
            assert transferred(address, b"first") == sha256(b"first").hexdigest()
        yield made


def connected(address: str, port: int) -> socket.socket:
    """
    Connect a socket of the kernel.
    """
    return socket.create_connection((address, port), PATIENCE)


def transferred(address: str, data: bytes) -> str:
    """
    Send data to the host.

    @return: the hash of the data that the host has received.
    """
    with connected(address, SINK) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        return ended(client)


def ended(client: socket.socket) -> str:
    """
    Read until the end of the connection.
    """
    said = b""
    while data := client.recv(1000):
        said += data
    return said.decode()


class Bounded:
    """
    Checks that the host has logged nothing during the block, and that its tables and its memory are within bounds.
    """

    def __init__(self, server: Machine) -> None:
        self._server = server

    def __enter__(self) -> Bounded:
        self._log = self._server.log()
        self._before = self._server.state()
        return self

    def __exit__(self, kind: object, *ignored: object) -> None:
        if kind is not None:
            return
        after = self.state = self._server.state()
        assert self._server.log() == self._log
        assert after["resident"] - self._before["resident"] < MAX_GROWTH
        assert after["tables"]["half open of a port"] <= BACKLOG
        assert after["tables"]["buffers"] == 0
        until(lambda: self._server.state()["connections"] == 0, "connections to end")
        for address in "10.9.0.2", "fd09::2":
            assert transferred(address, much(1_000_000)) == sha256(much(1_000_000)).hexdigest()

    def processor(self) -> float:
        """
        Return the seconds of CPU time that the host has used.
        """
        return float(self._server.state()["processor"] - self._before["processor"])

    def counted(self, name: str) -> int:
        """
        Return the growth of a counter of TCP.
        """
        before, after = (state["counters"]["tcp"].get(name, 0) for state in (self._before, self._server.state()))
        return int(after - before)


class Flood:
    """
    Writes packets to the device.

    @ivar sent: the number of packets sent.
    """

    def __init__(self, server: Machine, network: PacketSocket, packets: Iterator[bytes], rate: float | None) -> None:
        """
        @param rate: the packets to send per second, or C{None} for as many as the host reads.
        """
        self.sent = 0
        self._isTap = server.mode == "tap"
        self._network = network
        self._packets = packets
        self._rate = rate
        self._read = packetsRead(INTERFACE)
        self._last = time.monotonic()

    def step(self) -> None:
        """
        Send the packets that are due.
        """
        now = time.monotonic()
        number = MOST_UNREAD // 2
        if self._rate is not None:
            # After a pause, do not send the missed packets, because the queue has no room for them.
            number = min(number, int((now - self._last) * self._rate))
        unread = self._read + self.sent - packetsRead(INTERFACE)
        if unread > MOST_UNREAD:
            # The host has no CPU time at the moment, and packets without room in the queue would be lost.
            number = 0
        # The host has also read packets of other senders.
        self._read -= min(unread, 0)
        if number:
            self._last = now
        for _ in range(number):
            packet = next(self._packets)
            if self._isTap:
                etherType = ethernet.IPV4 if packet[0] >> 4 == 4 else ethernet.IPV6
                packet = ethernetFrame(FORGER, STATION, etherType, packet)
            self._network.send(packet)
        self.sent += number
        self._network.received()


@contextmanager
def flooding(server: Machine, packets: Iterator[bytes], rate: float | None = None) -> Iterator[Flood]:
    """
    Make a flood that can be sent in steps.
    """
    with PacketSocket(INTERFACE, TAP if server.mode == "tap" else TUN) as network:
        yield Flood(server, network, packets, rate)


def syns(ours: str) -> Iterator[bytes]:
    """
    Make SYNs from forged addresses to the echo service.
    """
    random = Random(1)
    options = packSynOptions(1460, 7, True, (1, 0))
    for number in count():
        if ":" in ours:
            source = f"2001:db8::{random.randrange(1, 65536):x}:{random.randrange(65536):x}"
        else:
            source = f"192.168.{random.randrange(256)}.{random.randrange(1, 255)}"
        port = 1024 + number % 64000
        yield segment(source, ours, port, ECHO, random.randrange(1 << 32), 0, SYN, options=options)


class Honest:
    """
    Sockets of the kernel that connect to the echo service, receive an answer, and are closed.

    @ivar again: for each finished socket, the number of its repeated SYNs.
    """

    def __init__(self, ours: str) -> None:
        self._target = ours, ECHO
        self._family = socket.AF_INET6 if ":" in ours else socket.AF_INET
        self._open: set[socket.socket] = set()
        self._asked: dict[socket.socket, int] = {}
        self.again: list[int] = []

    def __enter__(self) -> Honest:
        return self

    def __exit__(self, *ignored: object) -> None:
        for client in self._open | set(self._asked):
            client.close()

    @property
    def started(self) -> int:
        """
        The number of sockets that were started.
        """
        return len(self.again) + len(self._open) + len(self._asked)

    @property
    def connected(self) -> list[int]:
        """
        For each socket that has connected, the number of its repeated SYNs.
        """
        return [*self.again, *self._asked.values()]

    def start(self) -> None:
        """
        Start one more socket.
        """
        client = socket.socket(self._family, socket.SOCK_STREAM)
        client.setblocking(False)
        client.connect_ex(self._target)
        self._open.add(client)

    def step(self) -> None:
        """
        Continue with the sockets that are ready.
        """
        readable, writable, _ = select.select(self._asked, self._open, [], 0)
        for client in writable:
            self._open.remove(client)
            info = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
            (again,) = _RETRANSMISSIONS.unpack_from(info)
            # This call raises if the connection was refused.
            client.send(b"honest")
            self._asked[client] = again
        for client in readable:
            assert client.recv(100) == b"honest"
            self.again.append(self._asked.pop(client))
            client.close()


@FAMILIES
def test_peersConnectDuringAFloodOfSYNs(server: Machine, ours: str) -> None:
    tries = 100
    with Bounded(server) as bounded:
        with flooding(server, syns(ours), 5000) as flood, Honest(ours) as honest:

            def turn() -> None:
                flood.step()
                if honest.started < tries and flood.sent >= 150 * (honest.started + 1):
                    honest.start()
                honest.step()

            until(lambda: len(honest.again) == tries, "connections", turn)
        rate = flood.sent / bounded.processor()
        print(f"{rate:.0f} SYNs a second of a processor; {honest.again.count(0)} of {tries} came up at the first try")
        # A host with a processor of its own keeps up with this rate.
        assert rate > 5000
        assert honest.again.count(0) >= tries * 0.9
        assert bounded.counted("cookiesSent") > flood.sent * 0.9
        assert bounded.counted("cookiesReceived") > tries * 0.9
        assert bounded.counted("estabResets") == 0


@FAMILIES
def test_peersConnectAtAnyRateOfSYNs(server: Machine, ours: str) -> None:
    tries = 50
    with Bounded(server) as bounded:
        with flooding(server, syns(ours)) as flood, Honest(ours) as honest:

            def turn() -> None:
                flood.step()
                if honest.started < tries and flood.sent >= 1000 * (honest.started + 1):
                    honest.start()
                honest.step()

            until(lambda: len(honest.again) == tries, "connections", turn)
        rate = flood.sent / bounded.processor()
        print(f"{rate:.0f} SYNs a second of a processor; honest ones were sent again {sorted(honest.again)} times")
        assert max(honest.again) <= AGAIN_IN_TEN_SECONDS
        answered = bounded.counted("cookiesSent") + bounded.counted("backlogOverflows")
        assert answered > flood.sent * 0.9


@contextmanager
def queueOf(length: int | None) -> Iterator[None]:
    """
    Set the length of the device's queue, in packets. C{None}: leave it alone.
    """
    before = show(INTERFACE)["txqlen"]
    configureInterface(INTERFACE, txqueuelen=before if length is None else length)
    try:
        yield
    finally:
        configureInterface(INTERFACE, txqueuelen=before)


@pytest.mark.long("floods")
@pytest.mark.parametrize(("queue", "share"), [(None, 0.95), (LONG_QUEUE, 0.85)], ids=["queue", "long queue"])
@FAMILIES
def test_peersConnectDuringAFloodThatOverflowsTheQueue(
    server: Machine, ours: str, queue: int | None, share: float
) -> None:
    tries, pause = 50, 0.1
    with Bounded(server) as bounded, queueOf(queue):
        with Flooder(INTERFACE, server.mode, ours, FULL_RATE), Honest(ours) as honest:
            until(lambda: bounded.counted("cookiesSent") > 0, "the flood")
            used, before, start = bounded.processor(), show(INTERFACE)["stats64"]["tx"], time.monotonic()

            def turn() -> None:
                if honest.started < tries and time.monotonic() > start + honest.started * pause:
                    honest.start()
                honest.step()
                time.sleep(0.005)

            until(lambda: time.monotonic() > start + tries * pause + 10, "ten seconds for the last peer", turn)
            up = sum(again <= AGAIN_IN_TEN_SECONDS for again in honest.connected)
            after, seconds = show(INTERFACE)["stats64"]["tx"], time.monotonic() - start
            used = bounded.processor() - used
        read, lost = (after[name] - before[name] for name in ("packets", "dropped"))
        print(
            f"{(read + lost) / seconds:.0f} SYNs a second, of which {read / (read + lost):.0%} were read,"
            f" {used / read * 1e6:.1f} us each, in {used / seconds:.0%} of a processor; {up} of {tries} came up in 10 s"
        )
        # A peer needs two of its SYNs read. A host that is given a processor at once reads a greater share than this.
        # On a busy machine it reads less, because the queue overflows while it waits.
        assert up >= (tries if read >= share * (read + lost) else tries * 0.8)
        assert bounded.counted("estabResets") == 0


def forged(client: socket.socket, flags: int, payload: bytes) -> Iterator[bytes]:
    """
    Make segments of a connection as an attacker who knows its addresses and ports, but not the sequence numbers.
    """
    random = Random(1)
    (theirs, theirPort, *_), (ours, ourPort, *_) = client.getsockname(), client.getpeername()
    for _ in count():
        numbers = random.randrange(1 << 32), random.randrange(1 << 32)
        yield segment(theirs, ours, theirPort, ourPort, *numbers, flags, payload)


@FAMILIES
@pytest.mark.parametrize(
    ("flags", "payload"),
    [(ACK, b""), (RST, b""), (FIN | ACK, b""), (PSH | ACK, b"forged"), (SYN, b""), (0, b"forged")],
    ids=["ACK", "RST", "FIN", "data", "SYN", "none"],
)
def test_aConnectionSurvivesAFlood(server: Machine, ours: str, flags: int, payload: bytes) -> None:
    data, number = memoryview(much(2_000_000)), 10_000
    with Bounded(server) as bounded, connected(ours, SINK) as client:
        client.setblocking(False)
        with flooding(server, forged(client, flags, payload)) as flood:
            sent = 0

            def turn() -> None:
                nonlocal sent
                if flood.sent < number:
                    flood.step()
                # Send some of the data before each part of the flood, and the rest at the end.
                most = len(data) * flood.sent // number
                if sent < most and select.select([], [client], [], 0)[1]:
                    sent += client.send(data[sent : min(most, sent + 65536)])

            until(lambda: sent == len(data), "the transfer", turn)
        client.setblocking(True)
        client.settimeout(PATIENCE)
        client.shutdown(socket.SHUT_WR)
        assert ended(client) == sha256(data).hexdigest()
        # A few sequence numbers are in the window by chance.
        assert bounded.counted("inUnacceptable") > number * 0.9
        assert bounded.counted("estabResets") == 0
        assert bounded.counted("outRsts") == 0


@contextmanager
def descriptors(number: int) -> Iterator[None]:
    """
    Raise the limit of open descriptors, or skip the test.
    """
    before = soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, number), max(hard, number)))
    except ValueError as e:
        raise SkipTest(f"{number} descriptors, and no more than {hard} are allowed (ulimit -Hn)") from e
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@lengths("number", 2_000, 10_000, "floods")
def test_manyConnectionsAtOnce(server: Machine, number: int) -> None:
    with descriptors(number + 500), ExitStack() as stack:
        poll = select.epoll()
        stack.callback(poll.close)
        clients: dict[int, socket.socket] = {}
        up: list[socket.socket] = []

        def turn() -> None:
            while len(clients) < min(number, len(up) + GROUP):
                client = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
                client.setblocking(False)
                client.connect_ex(("10.9.0.2", ECHO))
                clients[client.fileno()] = client
                poll.register(client, select.EPOLLOUT | select.EPOLLONESHOT)
            up.extend(clients[each] for each, _ in poll.poll(0.01))

        until(lambda: len(up) == number, "all to connect", turn, 2 * PATIENCE)
        until(lambda: server.state()["connections"] == number, "all connections")
        for begin in range(0, number, GROUP):
            group = list(enumerate(up))[begin : begin + GROUP]
            for asked, client in group:
                assert client.send(b"%d" % asked)
            for asked, client in group:
                client.settimeout(PATIENCE)
                assert client.recv(100) == b"%d" % asked
        print(f"{server.state()['resident'] >> 20} MiB with {number} connections")
        for begin in range(0, number, GROUP):
            for client in up[begin : begin + GROUP]:
                client.close()
            most = max(0, number - begin - GROUP)
            until(lambda: server.state()["connections"] <= most, "connections to end")  # noqa: B023


@pytest.mark.parametrize("flag", ["-S", "-A", "-R", "-F"])
def test_aConnectionSurvivesHping3(server: Machine, flag: str) -> None:
    if shutil.which("hping3") is None:
        raise SkipTest(f"hping3 is missing: apt-get install {PACKAGES['hping3']}")
    with Bounded(server) as bounded, connected("10.9.0.2", ECHO) as client:
        command = [tool("hping3"), "-q", "-n", "--flood", "--rand-source", "-p", str(ECHO), flag, "10.9.0.2"]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            # The queue of the device has no room for most of the flood.
            until(lambda: bounded.counted("inSegs") > 20_000, "segments of the flood")
        finally:
            process.kill()
            process.wait()
        client.sendall(b"still here")
        assert client.recv(100) == b"still here"
        assert bounded.counted("estabResets") == 0
