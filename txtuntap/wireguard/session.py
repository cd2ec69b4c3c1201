"""
Sessions: the keys that two peers have agreed on, and what is counted under them.

Read the whitepaper, sections 5.4.6 and 6.3, first.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from txtuntap.layer.counters import Counters
from txtuntap.wire.wireguard import DATA, DATA_HEADER, DATA_HEADER_LENGTH, DATA_LENGTH, PADDING, padded
from txtuntap.wireguard.handshake import SessionKeys
from txtuntap.wireguard.needs import ChaCha20Poly1305, InvalidTag
from txtuntap.wireguard.replay import WINDOW, ReplayWindow

#: The messages after which the end that sends them begins a handshake, and from which on none is sent or taken.
REKEY_AFTER_MESSAGES: Final = 1 << 60
REJECT_AFTER_MESSAGES: Final = (1 << 64) - WINDOW - 1

#: Seconds after which the end that began a session begins another one when it sends, and after which none is used.
REKEY_AFTER_TIME: Final = 120.0
REJECT_AFTER_TIME: Final = 180.0

_nonce = struct.Struct("<4xQ").pack
_packHeader = DATA_HEADER.pack_into


class Session:
    """
    The keys of one handshake.

    @ivar localIndex: the index in the messages that come; C{remoteIndex}: in those that are sent.
    @ivar isInitiator: whether this end began the handshake.
    @ivar since: when the handshake was done, in steady seconds.
    @ivar until: when the keys may be used no more.
    @ivar counter: the number of the next message that is sent.
    @ivar window: the numbers of messages that have come.
    """

    __slots__ = (
        "_decrypt",
        "_encrypt",
        "counter",
        "isInitiator",
        "localIndex",
        "remoteIndex",
        "since",
        "until",
        "window",
    )

    def __init__(self, keys: SessionKeys, localIndex: int, remoteIndex: int, isInitiator: bool, now: float) -> None:
        self.localIndex = localIndex
        self.remoteIndex = remoteIndex
        self.isInitiator = isInitiator
        self.since = now
        self.until = now + REJECT_AFTER_TIME
        self.counter = 0
        self.window = ReplayWindow()
        self._encrypt = _encryptInto(ChaCha20Poly1305(keys.sending))
        self._decrypt = ChaCha20Poly1305(keys.receiving).decrypt

    def maySend(self, now: float) -> bool:
        """
        Whether a message may be sent under these keys.
        """
        return now < self.until and self.counter < REJECT_AFTER_MESSAGES

    def seal(self, packets: Sequence[bytes], mtu: int) -> list[memoryview]:
        """
        Make data messages, one of each packet. The caller has asked L{maySend}.

        @param packets: IP packets; an empty one is a keepalive.
        @param mtu: the MTU of the interface, which padding does not go beyond.
        """
        encrypt, index, counter = self._encrypt, self.remoteIndex, self.counter
        # All messages share one buffer, because allocating and joining the parts of each would take 0.3 µs.
        room = sum(map(len, packets)) + len(packets) * (DATA_LENGTH + PADDING)
        buffer = memoryview(bytearray(room))
        messages = []
        at = 0
        for packet in packets:
            length = len(packet)
            if length & 15 and length != mtu:
                length = padded(length, mtu)
                packet = packet.ljust(length, b"\0")
            end = at + DATA_LENGTH + length
            _packHeader(buffer, at, DATA, index, counter)
            encrypt(_nonce(counter), packet, None, buffer[at + DATA_HEADER_LENGTH : end])
            messages.append(buffer[at:end])
            counter += 1
            at = end
        self.counter = counter
        return messages

    def unseal(self, messages: Iterable[tuple[int, bytes]], counters: Counters) -> list[bytes]:
        """
        Open data messages that have come one after another.

        @param messages: the counter of each, from its header, and its octets.
        @param counters: counts the messages that are refused: C{inExpired}, C{inUnauthentic}, C{inReplays}.

        @return: the packets of the others, with their padding.
        """
        decrypt, accept = self._decrypt, self.window.accept
        packets = []
        for counter, message in messages:
            if counter >= REJECT_AFTER_MESSAGES:
                counters["inExpired"] += 1
                continue
            try:
                packet = decrypt(_nonce(counter), message[DATA_HEADER_LENGTH:], None)
            except InvalidTag:
                counters["inUnauthentic"] += 1
                continue
            if accept(counter):
                packets.append(packet)
            else:
                counters["inReplays"] += 1
        return packets


def _encryptInto(cipher: ChaCha20Poly1305) -> Callable[[bytes, bytes, None, memoryview], object]:
    """
    The function that encrypts into a buffer. Releases of C{cryptography} before 47 have none.
    """
    found: Callable[[bytes, bytes, None, memoryview], object] | None = getattr(cipher, "encrypt_into", None)
    if found is not None:
        return found

    def copied(nonce: bytes, data: bytes, associated: None, buffer: memoryview) -> None:
        buffer[:] = cipher.encrypt(nonce, data, associated)

    return copied


class Sessions:
    """
    The sessions with one peer: messages that are under way still belong to the one before, and a peer that answered has
    to wait until the other end has proved that it has the keys.

    @ivar current: the one that is sent by; C{None}: there is none.
    @ivar previous: the one that was sent by before.
    @ivar next: one that this end has answered to, until its first message comes.
    """

    __slots__ = ("current", "next", "previous")

    def __init__(self) -> None:
        self.current: Session | None = None
        self.previous: Session | None = None
        self.next: Session | None = None

    def all(self) -> list[Session]:
        """
        All sessions that messages are taken by.
        """
        return [each for each in (self.current, self.previous, self.next) if each is not None]

    def begin(self, session: Session) -> list[Session]:
        """
        Add a new session.

        @return: those that it has replaced.
        """
        gone = [self.previous]
        if not session.isInitiator:
            gone.append(self.next)
            self.previous, self.next = None, session
        else:
            if self.next is None:
                self.previous = self.current
            else:
                gone.append(self.current)
                self.previous = self.next
            self.current, self.next = session, None
        return [each for each in gone if each is not None]

    def confirm(self) -> list[Session]:
        """
        The first message under the next session has come: it is the current one from now on.

        @return: the sessions that were replaced.
        """
        gone = [] if self.previous is None else [self.previous]
        self.previous, self.current, self.next = self.current, self.next, None
        return gone

    def clear(self) -> list[Session]:
        """
        Forget all sessions with the peer.

        @return: those that there were.
        """
        gone = self.all()
        self.current = self.previous = self.next = None
        return gone
