"""
The services that every host used to have: echo (RFC 862) and discard (RFC 863).
"""

from __future__ import annotations

from twisted.internet.protocol import DatagramProtocol

#: Ports below serve what is always there: echo, chargen, DNS, NTP.
FIRST_USER_PORT = 1024


class Echo(DatagramProtocol):
    """
    Sends every datagram back (RFC 862), except to where another echo may be: between two of them, one forged datagram
    would never come to rest.
    """

    noisy = False

    def __init__(self, echoPorts: frozenset[int] = frozenset()) -> None:
        """
        @param echoPorts: the ports that serve echo here.
        """
        self._echoPorts = echoPorts

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        """
        Send it back.
        """
        if addr[1] >= FIRST_USER_PORT and addr[1] not in self._echoPorts and self.transport is not None:
            self.transport.write(datagram, addr)


class Discard(DatagramProtocol):
    """
    Takes every datagram, and does nothing (RFC 863).
    """

    noisy = False
