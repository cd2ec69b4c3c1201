"""
One peer: its keys, where it is, its sessions, packets that wait for a session, and what is due with it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Final

from twisted.internet.interfaces import IReactorTime

from txtuntap.layer.timer import Timer
from txtuntap.wire.wireguard import KEY_LENGTH
from txtuntap.wireguard.cookies import CookieHolder
from txtuntap.wireguard.handshake import Initiated
from txtuntap.wireguard.keys import NO_PRESHARED_KEY, keyText
from txtuntap.wireguard.session import Sessions
from txtuntap.wireguard.timers import Timers

if TYPE_CHECKING:
    from txtuntap.layer.prefixes import Network
    from txtuntap.wireguard.endpoint import Endpoint

#: Packets that wait for a session with one peer, at most. The oldest is dropped for a new one.
MAX_STAGED: Final = 128


class Peer:
    """
    One peer of a L{WireGuard<txtuntap.wireguard.protocol.WireGuard>}. Its attributes are read by applications; they are
    changed by the methods of the protocol alone.

    @ivar publicKey: its public key, 32 octets.
    @ivar endpoint: where its messages are sent; C{None}: unknown until it sends an authentic one.
    @ivar isSought: whether the address of the endpoint is being looked up: packets wait for it.
    @ivar roams: whether the endpoint follows the peer's authentic messages.
    @ivar keepalive: after so many seconds without a message either way, it has one; 0: never.
    @ivar allowed: the networks that it may send from, and that packets for it are sent to.
    @ivar lastHandshake: when the last handshake was done, in seconds of the wall clock; 0: never.
    @ivar received: the octets of its messages, with their headers; C{sent}: of those for it.
    """

    def __init__(self, publicKey: bytes, clock: IReactorTime, due: Callable[[Peer], object]) -> None:
        """
        @param due: called when a timer of this peer has run out.
        """
        self.publicKey = publicKey
        self.presharedKey = NO_PRESHARED_KEY
        self.endpoint: Endpoint | None = None
        self.isSought = False
        self.roams = True
        self.keepalive = 0
        self.allowed: dict[Network, None] = {}
        self.lastHandshake = 0.0
        self.received = self.sent = 0
        # The static-static secret: empty where the key of one of both has a low order.
        self.shared = b""
        self.cookies = CookieHolder(publicKey)
        self.sessions = Sessions()
        self.handshake: Initiated | None = None
        # The end that has answered an initiation compares the timestamp and the time of the next one with these.
        self.latestTimestamp = b""
        self.initiatedAt = -inf
        self.timestampSent = b""
        self.handshakeSentAt = -inf
        self.sentLastMinute = False
        self.staged: deque[bytes] = deque()
        self.timers = Timers()
        self._timer = Timer(clock, due, self)

    def __repr__(self) -> str:
        return f"<Peer {self.name} at {self.endpoint or 'an unknown endpoint'}>"

    @property
    def name(self) -> str:
        """
        The public key in base64, as C{wg} shows it.
        """
        return keyText(self.publicKey)

    @property
    def hasPresharedKey(self) -> bool:
        """
        Whether both ends share a key in advance.
        """
        return self.presharedKey != bytes(KEY_LENGTH)

    @property
    def hasSession(self) -> bool:
        """
        Whether there is a session that packets may be sent by, or were.
        """
        return self.sessions.current is not None

    def schedule(self) -> None:
        """
        Have the owner called when the first timer runs out. A call that comes too early finds nothing due, so it is
        put forward only, never off: that would cost each packet a microsecond.
        """
        deadline = self.timers.deadline
        before = self._timer.deadline
        if deadline != inf and (before is None or deadline < before):
            self._timer.armAt(deadline)

    def stop(self) -> None:
        """
        Have nothing due any more.
        """
        self.timers.stop()
        self._timer.stop()
