"""
Messages that try to change a host's state: the path MTU, the link address of a neighbour, and the route to a
destination.

Read RFC 1191, RFC 8201 and RFC 4861 sections 7.2.5 and 8 first.
"""

from __future__ import annotations

from itertools import pairwise

from tests.real.lab.machine import ECHO, RELAY
from tests.real.lab.oddities import Oddity, differs, same
from tests.real.lab.oddities.frames import (
    GATEWAYS,
    OTHER,
    OTHER_GATEWAYS,
    Frames,
    arpFrom,
    discovers,
    here,
    linkOption,
    versionOf,
)
from tests.real.test_input import HERE, asks, echo, framed, icmp4, icmp6
from txtuntap.testing import ipPacket, udpPacket
from txtuntap.wire import icmp, ndp
from txtuntap.wire.address import packAddress, packLinkAddress

#: The number of octets in a datagram that fits the link but not a narrow path, and the MTU of that path, by IP version.
_LARGE = {4: 1200, 6: 1400}
_NARROW = {4: 600, 6: 1300}

_UNASKED = "ARP and NDP: an answer that nobody asked for"
_REDIRECTS = "ICMP: redirects"
_UNSENT = "ICMP: a packet too big that was never sent"
_REPLIES = "ICMP: an echo reply too big"
_NOT_LARGER = "ICMP: a packet too big that was not"
_UNKNOWN_SIZE = "ICMP: a packet too big for an unknown size"


def relay(source: str, dest: str) -> bytes:
    """
    Make a frame that asks the relay service of the host under test to send a datagram to an address.
    """
    return framed(udpPacket(source, here(source), 4000, RELAY, dest.encode()))


def _large(source: str) -> bytes:
    return framed(udpPacket(source, here(source), 4000, ECHO, bytes(_LARGE[versionOf(source)])))


def _tooBig(source: str, mtu: int, quoted: bytes) -> bytes:
    """
    Make a frame with an ICMP error "packet too big" or "fragmentation needed".

    @param mtu: the MTU in the error.
    @param quoted: the packet that was too big.
    """
    if versionOf(source) == 4:
        return framed(icmp4(source, icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED, quoted[:548], mtu))
    return framed(icmp6(source, icmp.PACKET_TOO_BIG6, 0, quoted[:1200], mtu))


def _answer(source: str, size: int) -> bytes:
    """
    Make the answer of the host's echo service to a datagram of C{size} octets.
    """
    return udpPacket(here(source), source, ECHO, 4000, bytes(size))


def _reply(source: str) -> bytes:
    """
    Make the echo reply of the host under test, of a size that a narrow path cannot carry.
    """
    version = versionOf(source)
    addresses = (packAddress(HERE[6]), packAddress(source)) if version == 6 else ()
    kind = icmp.ECHO_REPLY if version == 4 else icmp.ECHO_REPLY6
    message = icmp.pack(kind, 0, 0x12340001, bytes(_LARGE[version]), *addresses)
    return ipPacket(here(source), source, icmp.PROTOCOL[version], message)


def _pieces(*ends: int) -> list[str]:
    """
    The texts for the fragments of a datagram, by the end of each fragment.
    """
    return [f"fragment {start} to {end}" for start, end in pairwise((0, *ends))]


def _paths(version: int) -> list[Oddity]:
    whole = f"udp of {_LARGE[version]} octets"
    narrow, large = _NARROW[version], _LARGE[version]
    cut = _pieces(576, 1152, 1208) if version == 4 else _pieces(1248, 1408)
    floor, below = (68, _pieces(528, 1056, 1208)) if version == 4 else (1279, [whole])

    def told(mtu: int, size: int) -> Frames:
        return lambda source: [_large(source), _tooBig(source, mtu, _answer(source, size)), _large(source)]

    name = f"IPv{version}: too big:"
    echoed = "icmp 0/0" if version == 4 else "icmp6 129/0"
    return [
        same(version, f"{name} what was sent", told(narrow, large), whole, *cut),
        same(version, f"{name} below what every path carries", told(floor, large), whole, *below),
        differs(
            version,
            _UNSENT,
            f"{name} what was not sent",
            lambda source: [_tooBig(source, narrow, _answer(source, large)), _large(source)],
            [whole],
            cut,
        ),
        differs(
            version,
            _NOT_LARGER,
            f"{name} what was smaller",
            lambda source: [framed(asks(source)), _tooBig(source, narrow, _answer(source, 5)), _large(source)],
            ["udp hello", whole],
            ["udp hello", *cut],
        ),
        differs(
            version,
            _REPLIES,
            f"{name} an echo reply",
            lambda source: [framed(echo(source)), _tooBig(source, narrow, _reply(source)), _large(source)],
            [echoed, whole],
            [echoed, *cut],
        ),
    ]


PATHS = [
    *_paths(4),
    *_paths(6),
    differs(
        4,
        _UNKNOWN_SIZE,
        "IPv4: too big: of an unknown size",
        lambda source: [_large(source), _tooBig(source, 0, _answer(source, 1200)), _large(source)],
        ["udp of 1200 octets", *_pieces(984, 1208)],
        ["udp of 1200 octets", *_pieces(528, 1056, 1208)],
    ),
    same(
        6,
        "IPv6: too big: of an unknown size",
        lambda source: [_large(source), _tooBig(source, 0, _answer(source, 1400)), _large(source)],
        "udp of 1400 octets",
        "udp of 1400 octets",
    ),
]

#: The address of a neighbour that the host knows from its request. A later message claims another station for it.
_KNOWN = {4: "10.9.0.9", 6: "fd09::2:9"}


def _asksForUs(address: str) -> bytes:
    asked = arpFrom(address) if versionOf(address) == 4 else discovers(address)
    return asked(address)[0]


def _moved(source: str) -> bytes:
    """
    Make an unsolicited message that claims another station for the known neighbour.
    """
    if versionOf(source) == 4:
        return arpFrom(_KNOWN[4], link=packLinkAddress(OTHER), target=_KNOWN[4])(source)[0]
    options, flags = linkOption(OTHER, ndp.TARGET_LINK), ndp.OVERRIDE
    return discovers(_KNOWN[6], HERE[6], _KNOWN[6], options, kind=ndp.ADVERTISEMENT, flags=flags)(source)[0]


def _moves(version: int) -> Oddity:
    known = _KNOWN[version]
    answer = {4: "arp reply", 6: f"icmp6 136/0 to {known}"}[version]
    return differs(
        version,
        _UNASKED,
        f"IPv{version}: who is known is said to be elsewhere",
        lambda source: [_asksForUs(known), _moved(source), relay(source, known)],
        [answer, f"udp relayed to {known}"],
        [answer, f"udp relayed at {OTHER} to {known}"],
    )


#: The address of a host behind the gateway, by IP version.
_FAR = {4: "192.0.2.99", 6: "2001:db8::99"}


def _redirected(source: str) -> list[bytes]:
    version = versionOf(source)
    gateway, better, far = GATEWAYS[version], OTHER_GATEWAYS[version], _FAR[version]
    sent = udpPacket(here(source), far, RELAY, RELAY, b"relayed")
    if version == 4:
        redirect = icmp4(gateway, 5, 1, sent, int.from_bytes(packAddress(better), "big"))
    else:
        body = packAddress(better) + packAddress(far) + linkOption(OTHER, ndp.TARGET_LINK)
        redirect = icmp6(gateway, 137, 0, body, hopLimit=255)
    return [_asksForUs(gateway), relay(source, far), framed(redirect), relay(source, far)]


def _redirects(version: int) -> Oddity:
    far, gateway = _FAR[version], GATEWAYS[version]
    answer = {4: "arp reply", 6: f"icmp6 136/0 to {gateway}"}[version]
    relayed = f"udp relayed to {far}"
    return differs(
        version,
        _REDIRECTS,
        f"IPv{version}: redirect",
        _redirected,
        [answer, relayed, relayed],
        [answer, relayed, f"udp relayed at {OTHER} to {far}"],
    )


TRUST = [*PATHS, _moves(4), _moves(6), _redirects(4), _redirects(6)]
