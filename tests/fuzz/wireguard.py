"""
The harness of the fuzzer for WireGuard: two ends with a session, one of which receives arbitrary octets, and the
invariants that must hold for any of them.

An input has the form of L{tests.fuzz.ingress}; its first octet is ignored. The first octet of each record tells where
the rest goes: see C{_KINDS}.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock

from tests.fuzz.ingress import Broken, join, observed, split
from tests.wireguard.pair import INSIDE, OUTSIDE, Pair
from txtuntap.testing import ipPacket
from txtuntap.wire.address import packAddress
from txtuntap.wire.wireguard import (
    COOKIE_REPLY,
    COOKIE_REPLY_LENGTH,
    DATA,
    DATA_LENGTH,
    INITIATION,
    INITIATION_LENGTH,
    MAC_LENGTH,
    RESPONSE,
    RESPONSE_LENGTH,
)
from txtuntap.wireguard import WireGuard, keyText
from txtuntap.wireguard.configuration import Configuration, ConfigurationError
from txtuntap.wireguard.endpoint import Endpoint
from txtuntap.wireguard.inner import ipPacket as readPacket
from txtuntap.wireguard.keys import PrivateKey
from txtuntap.wireguard.uapi import UAPIError, change, state

STRANGER = Endpoint("198.51.100.7", 7)

#: Where a record goes, by its first octet.
MESSAGE, SIGNED, INNER, LEAVING, REPLAY, FILE, REQUEST = range(7)

#: The most delayed calls: one timer for each peer.
_TIMERS = 2

_KEYS = [PrivateKey.generate(Random(number)) for number in range(3)]


class Attacked:
    """
    Two ends of WireGuard with a session. The second one receives what an input has.
    """

    def __init__(self) -> None:
        self.pair = Pair()
        self.pair.send()
        self.pair.run(1)
        self.core: Any = self.pair.cores[1]
        self.peer = self.pair.peers[1]
        #: The messages that the second end has had from its peer: whoever sends them again has the same ones.
        self.seen = [each.message for each in self.pair.sent if not each.sender]
        self.pair.delivered[1].clear()

    def receive(self, record: bytes) -> None:
        """
        Have a record go where its first octet tells.

        @raise Broken: an invariant does not hold.
        """
        kind, data = (record[0] % len(_KINDS) if record else 0), record[1:]
        _KINDS[kind](self, data)

    def message(self, message: bytes) -> None:
        """
        A stranger sends octets: nothing that an application sees may follow, and no answer but a cookie.
        """
        pair, before = self.pair, self.peer.endpoint
        delivered, sent = len(pair.delivered[1]), len(pair.sent)
        sessions = self.peer.sessions.all()
        self.core.messagesReceived([message], STRANGER)
        if (
            self.peer.endpoint is not before
            or len(pair.delivered[1]) != delivered
            or self.peer.sessions.all() != sessions
        ):
            raise Broken("a stranger has changed something")
        for each in pair.sent[sent:]:
            if each.kind != COOKIE_REPLY or len(each.message) > len(message) or each.endpoint is not STRANGER:
                raise Broken(f"a stranger was sent {each.message.hex()}")

    def signed(self, body: bytes) -> None:
        """
        A stranger who knows our public key sends a handshake message, whose first MAC is right.
        """
        kind = RESPONSE if body[:1] == b"\2" else INITIATION
        length = (RESPONSE_LENGTH if kind == RESPONSE else INITIATION_LENGTH) - 2 * MAC_LENGTH
        whole = (bytes([kind, 0, 0, 0]) + body[4:]).ljust(length, b"\0")[:length]
        cookies = type(self.peer.cookies)(self.pair.keys[1].public)
        self.message(cookies.sign(whole, self.pair.now))

    def inner(self, data: bytes) -> None:
        """
        The peer sends octets in a data message.
        """
        session = self.pair.peers[0].sessions.current
        if session is None or not session.maySend(self.pair.now):
            return
        delivered = self.pair.delivered[1]
        before = len(delivered)
        sealed = session.seal([data], 1420)
        # A packet may have octets of the padding, if its header says so: they are authentic, too.
        longest = len(sealed[0]) - DATA_LENGTH
        self.core.messagesReceived(sealed, OUTSIDE[0], len(data) & 3)
        for packet in delivered[before:]:
            found = readPacket(packet)
            if found is None or found[0] != len(packet) or len(packet) > longest:
                raise Broken(f"{packet.hex()} is no packet")
            if found[1] != packAddress(INSIDE[0]):
                raise Broken(f"the source of {packet.hex()} is not the peer's")

    def leaving(self, data: bytes) -> None:
        """
        A packet comes from inside.
        """
        self.core.sendPacket(data)

    def replay(self, data: bytes) -> None:
        """
        A stranger sends a message again that the peer has sent, with some octets changed: position, new octet, and so
        on.
        """
        message = bytearray(self.seen[data[0] % len(self.seen)]) if data else bytearray()
        for at in range(1, len(data) - 1, 2):
            message[data[at] % len(message)] ^= data[at + 1]
        self.message(bytes(message))

    def file(self, data: bytes) -> None:
        """
        A configuration file is read.
        """
        secret = keyText(_KEYS[0].secret())
        text = data.decode("utf-8", "replace").replace("%k", secret).replace("%p", keyText(_KEYS[1].public))
        try:
            found = Configuration.of(text)
        except ConfigurationError as e:
            if secret in str(e):
                raise Broken(f"a key is in an error: {text!r}") from e
            return
        if secret in repr(found):
            raise Broken("a key is in a repr")
        again = Configuration.of(found.text())
        again.hooks = found.hooks
        if again != found:
            raise Broken(f"{text!r} is read as {found} and written as {found.text()!r}")

    def request(self, data: bytes) -> None:
        """
        Lines of C{wg set}.
        """
        wireguard = WireGuard(_KEYS[0], 5, Clock(), outside=_Nowhere())
        text = data.decode("ascii", "replace")
        lines = text.replace("%k", _KEYS[0].secret().hex()).replace("%p", _KEYS[1].public.hex()).split("\n")
        try:
            change(wireguard, [line for line in lines if line])
        except UAPIError as e:
            if _KEYS[0].secret().hex() in f"{e!r} {e}":
                raise Broken("a key is in an error") from e
        told = list(state(wireguard))
        # The answer is one that can be set again.
        again = WireGuard(None, 5, Clock(), outside=_Nowhere())
        change(again, [line for line in told if not line.startswith(("last_", "tx_", "rx_"))])
        if list(state(again)) != told:
            raise Broken(f"{told} is set as {list(state(again))}")

    def check(self) -> None:
        """
        Check that every table is within its bound, that no calls are left over, and that the session still works.

        @raise Broken: one of these does not hold.
        """
        pair = self.pair
        for table in self.core.tables():
            if table.size > table.bound:
                raise Broken(f"{table.size} of {table.name}: {table.bound} is the most")
        if len(self.core._indexes) > 4:
            raise Broken(f"{len(self.core._indexes)} indexes")
        calls = [call for call in pair.clock.getDelayedCalls() if "Timer" in str(call)]
        if len(calls) > _TIMERS:
            raise Broken(f"{len(calls)} timers")
        pair.run(6)
        pair.delivered[1].clear()
        # The first packet may be under way when its keys expire.
        for _ in range(2):
            packet = pair.send(0, b"the end")
            # An initiation may need a cookie, and a second try.
            pair.run(12)
        if packet not in pair.delivered[1]:
            raise Broken("packets are delivered no more")


class _Nowhere:
    """
    A host that has no sockets.
    """

    def listenUDP(self, *ignored: Any) -> Any:
        """
        Refuse to open any socket.
        """
        raise CannotListenError("", 0, OSError("nowhere"))


_KINDS = (
    Attacked.message,
    Attacked.signed,
    Attacked.inner,
    Attacked.leaving,
    Attacked.replay,
    Attacked.file,
    Attacked.request,
)


def feed(data: bytes) -> Attacked:
    """
    Let an end receive all records of an input, and check the invariants.

    @raise Broken: an invariant does not hold.
    @raise Exception: an end has raised or logged an exception.
    """
    with observed() as lines:
        attacked = Attacked()
        for record in split(data):
            if isinstance(record, bytes):
                attacked.receive(record)
            else:
                attacked.pair.run(record)
    if lines:
        raise Broken(f"{len(lines)} lines were logged")
    attacked.check()
    return attacked


def seeds() -> Iterator[bytes]:
    """
    Make the initial inputs: valid messages of every kind, files and requests.
    """
    attacked = Attacked()
    for message in attacked.seen:
        yield join(False, [bytes([MESSAGE]) + message, bytes([MESSAGE]) + message[:-1]])
    yield join(False, [bytes([MESSAGE, COOKIE_REPLY]) + bytes(COOKIE_REPLY_LENGTH - 1)])
    for each in range(len(attacked.seen)):
        yield join(False, [bytes([REPLAY, each]), 1.0, bytes([REPLAY, each, 8, 1]), 130.0, bytes([REPLAY, each])])
        yield join(False, [170.0, bytes([REPLAY, each]), 20.0, bytes([REPLAY, each])])
    for kind in INITIATION, RESPONSE:
        yield join(False, [bytes([SIGNED, kind]) + bytes(90)] * 3)
    yield join(False, [bytes([SIGNED, INITIATION])] * 300)
    for source, dest in INSIDE, reversed(INSIDE), ("fd00::1", "fd00::2"):
        packet = ipPacket(source, dest, 17, b"12345")
        yield join(False, [bytes([INNER]) + packet, 1.0, bytes([LEAVING]) + packet, 130.0])
        yield join(False, [bytes([LEAVING]) + packet, 181.0, bytes([LEAVING]) + packet, 300.0])
    # The last packet lacks an octet, which its padding has.
    short = ipPacket(*INSIDE, 17, b"12345")[:-1]
    yield join(False, [bytes([INNER]), bytes([INNER, DATA]), bytes([INNER]) + short])
    file = (
        b"[Interface]\nPrivateKey = %k\nListenPort = 5\nFwMark = 0x10\nAddress = 10.0.0.1/24, fd00::1\nMTU = 1400\n"
        b"DNS = 10.0.0.1, example.com\nTable = off\nSaveConfig = true\nPostUp = true # %k\n"
        b"[Peer]\nPublicKey=%p\nPresharedKey = %k\nAllowedIPs = 10.0.0.0/8, ::/0\nEndpoint = [fd00::1]:5\n"
        b"PersistentKeepalive = 25 # so\n"
    )
    yield join(False, [bytes([FILE]) + file])
    yield join(False, [bytes([FILE]) + b"[Interface]\n%k\n"])
    request = (
        b"private_key=%k\nlisten_port=7\nfwmark=0\nreplace_peers=true\npublic_key=%p\npreshared_key=%k\n"
        b"endpoint=[fd00::1]:5\npersistent_keepalive_interval=25\nreplace_allowed_ips=true\nallowed_ip=10.0.0.0/8\n"
        b"allowed_ip=-10.0.0.0/8\nallowed_ip=::/0\nprotocol_version=1\n"
    )
    yield join(False, [bytes([REQUEST]) + request])
    yield join(False, [bytes([REQUEST]) + b"public_key=%p\nupdate_only=true\npublic_key=%p\nremove=true\n"])
