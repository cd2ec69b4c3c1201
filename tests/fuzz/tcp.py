"""
TCP for the fuzzer: servers of several kinds, and segments whose numbers fit the existing connections.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import ClientFactory, Factory, Protocol
from zope.interface import implementer

from txtuntap import Host
from txtuntap.tcp import Answer, Limits, TCPProtocol, UnclaimedSYN
from txtuntap.tcp.state import ESTABLISHED
from txtuntap.wire.tcp import ACK, HEADER, HEADER_LENGTH, PROTOCOL, SYN

ECHOING, SENDING, PAUSING, CLOSING, ABORTING, HALF_CLOSING = 7, 80, 81, 82, 83, 84

#: The limits of the TCP layer, so low that a short input reaches them.
LIMITS = Limits(
    connections=24,
    portConnections=6,
    peerConnections=12,
    halfOpen=8,
    timeWait=4,
    orphans=3,
    unclaimed=4,
    peerUnclaimed=3,
    buffers=30_000,
    cookies=5,
    resets=30,
    repeats=20,
)
BACKLOG = 3

_MASK = 0xFFFFFFFF

Flow = bytes


class Echoing(Protocol):
    def dataReceived(self, data: bytes) -> None:
        _transport(self).write(data)


class Sending(Protocol):
    def connectionMade(self) -> None:
        _transport(self).write(bytes(100_000))
        _transport(self).setTcpKeepAlive(True)
        _transport(self).loseConnection()


class Pausing(Protocol):
    """
    A protocol that stops reading for five seconds after all data.
    """

    def dataReceived(self, data: bytes) -> None:
        transport = _transport(self)
        transport.pauseProducing()
        transport.layer.callLater(5, transport.resumeProducing)


class Closing(Protocol):
    def dataReceived(self, data: bytes) -> None:
        _transport(self).write(data)
        _transport(self).loseConnection()


class Aborting(Protocol):
    def dataReceived(self, data: bytes) -> None:
        _transport(self).write(data)
        _transport(self).abortConnection()


@implementer(IHalfCloseableProtocol)
class HalfClosing(Protocol):
    def dataReceived(self, data: bytes) -> None:
        _transport(self).loseWriteConnection()

    def readConnectionLost(self) -> None:
        _transport(self).write(b"the end")
        _transport(self).loseConnection()

    def writeConnectionLost(self) -> None:
        pass


class Client(ClientFactory):
    noisy = False
    protocol = Echoing


def _transport(protocol: Protocol) -> Any:
    return protocol.transport


def _factory(protocol: type[Protocol]) -> Any:
    factory = Factory.forProtocol(protocol)
    factory.noisy = False
    return factory


def unclaimed(syn: UnclaimedSYN) -> Any:
    """
    Answer an unclaimed SYN. The port number selects one of all kinds of answers.
    """
    kind = syn.host.port % 4
    if kind == 3:
        return Deferred()
    return Answer.REFUSE if not kind else Answer.SILENCE if kind == 1 else _factory(Echoing)


def layer() -> TCPProtocol:
    """
    Make a TCP layer with limits that the fuzzer reaches.
    """
    return TCPProtocol(limits=LIMITS, verifyChecksum=False, unclaimed=unclaimed)


def serve(host: Host, peers: tuple[str, ...]) -> None:
    """
    Start the servers of a host, and connect to peers, which an input may let answer.
    """
    for port, protocol in (
        (ECHOING, Echoing),
        (SENDING, Sending),
        (PAUSING, Pausing),
        (CLOSING, Closing),
        (ABORTING, Aborting),
        (HALF_CLOSING, HalfClosing),
    ):
        host.listenTCP(port, _factory(protocol), backlog=BACKLOG)
    for peer in peers:
        host.connectTCP(peer, 9, Client(), timeout=100, bindAddress=("", 50_000))


def flowOf(packet: bytes) -> tuple[Flow, int] | None:
    """
    Return the flow of an IP packet, in the order of addresses that its receiver uses, and the position of its TCP
    header. Return L{None} if it has no TCP header.
    """
    if not packet:
        return None
    start = {4: (packet[0] & 15) * 4, 6: 40}.get(packet[0] >> 4, 0)
    if start < 20 or len(packet) < start + HEADER_LENGTH or packet[9 if start < 40 else 6] != PROTOCOL:
        return None
    addresses = packet[8:40] if packet[0] >> 4 == 6 else packet[12:20]
    return addresses + packet[start : start + 4], start


def withAbsoluteNumbers(host: Host, packet: bytes, answers: dict[Flow, tuple[int, int]]) -> bytes:
    """
    Add the numbers that the host expects to the sequence and acknowledgment numbers of a segment. Mutated segments then
    stay close to the windows of their connections.

    @param packet: an IP packet.
    @param answers: by flow, the numbers that the host expects behind its SYN+ACK. With SYN cookies, the host itself
        does not store them.
    """
    found = flowOf(packet)
    tcp: Any = host.tcp
    if found is None:
        return packet
    key, start = found
    transport = tcp._transports.get(key)
    half, waiting = tcp._halfOpen.get(key), tcp._timeWait.get(key)
    if transport is not None and transport.connection is not None:
        connection = transport.connection
        sequence = connection._peerInitial + connection.receiver.next
        acknowledgment = connection._initial + connection.sender.next
    elif half is not None:
        sequence, acknowledgment = half.peerInitial + 1, half.initial + 1
    elif waiting is not None:
        sequence, acknowledgment = waiting.next, waiting.sent
    elif key in answers:
        sequence, acknowledgment = answers[key]
    else:
        return packet
    fields = list(HEADER.unpack_from(packet, start))
    fields[2] = (fields[2] + sequence) & _MASK
    fields[3] = (fields[3] + acknowledgment) & _MASK
    return packet[:start] + HEADER.pack(*fields) + packet[start + HEADER_LENGTH :]


def note(packet: bytes, answers: dict[Flow, tuple[int, int]]) -> None:
    """
    Record the numbers that the host expects behind a SYN+ACK, if a sent packet is one.
    """
    found = flowOf(packet)
    if found is not None:
        flow, start = found
        _, _, sequence, acknowledgment, word, *_ = HEADER.unpack_from(packet, start)
        if word & (SYN | ACK) == SYN | ACK:
            answers[reversedFlow(flow)] = acknowledgment, sequence + 1


def reversedFlow(flow: Flow) -> Flow:
    """
    Return the flow of the opposite direction.
    """
    size = (len(flow) - 4) // 2
    return flow[size : 2 * size] + flow[:size] + flow[-2:] + flow[-4:-2]


def watch(host: Host) -> set[Flow]:
    """
    Record the flows whose peer has proved its address. The host may send more to these peers than it receives.

    @return: the set of these flows, which grows with each new connection.
    """
    proved: set[Flow] = set()
    tcp: Any = host.tcp
    enter = tcp._enter

    def entered(key: Flow, transport: Any) -> None:
        proved.add(key)
        enter(key, transport)

    tcp._enter = entered
    return proved


def problems(host: Host) -> Iterator[str]:
    """
    Describe each running total of the TCP layer that differs from the sum of its parts.
    """
    tcp: Any = host.tcp
    transports = list(tcp._transports.values())
    states = [each.connection.state for each in transports]
    kept = sum(each.connection.receiver.unread + each.connection.receiver.queued for each in transports)
    servers = [each for each in transports if hasattr(each, "server")]
    ports = [port for ports in tcp._ports.values() for port in ports]
    for name, counted, there in (
        ("octets in buffers", tcp.buffers.used, kept),
        ("currEstab", tcp.counters.currEstab, sum(state in ESTABLISHED for state in states)),
        ("connections of peers", dict(tcp._byPeer), dict(Counter(each.path.dest for each in servers))),
        ("connections of ports", sum(port.connections for port in ports), _listening(servers, ports)),
        ("half open", sum(port.halfOpen for port in ports), _listening(tcp._halfOpen.values(), ports)),
        ("orphans", set(tcp._orphans), {each for each in transports if each.disconnected}),
    ):
        if counted != there:
            yield f"{name}: {counted} counted, {there} there"


def _listening(entries: Any, ports: Any) -> int:
    return sum(getattr(each, "server", getattr(each, "port", None)) in ports for each in entries)
