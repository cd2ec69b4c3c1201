"""
IGMP and MLD, the messages by which a host reports its multicast groups to the routers and switches of its link.

Read RFC 3376 sections 4 and 5 first; RFC 3810 describes the same for IPv6. L{txtuntap.stack.reports} decides when a
report is sent.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from txtuntap.interfaces import IPacketReceiver, Route
from txtuntap.ip.input import IPProtocol
from txtuntap.layer.bounded import TableState
from txtuntap.layer.drops import Drop
from txtuntap.layer.lazy import Lazy
from txtuntap.layer.protocol import PacketProtocol
from txtuntap.packet import Packet
from txtuntap.stack.reports import Reporter
from txtuntap.wire import igmp, ipv4, ipv6, mld
from txtuntap.wire.address import (
    UNSPECIFIED,
    UNSPECIFIED6,
    groupLinkAddress,
    isInterfaceLocal,
    isLinkLocal,
    isMulticast,
    packAddress,
    versionOf,
)
from txtuntap.wire.ethernet import IPV4
from txtuntap.wire.igmp import Query, Record

_ALL_HOSTS = packAddress("224.0.0.1")
_ALL_NODES = packAddress("ff02::1")

#: The length in octets of the headers before a message of IGMP, and of MLD.
_HEADERS = ipv4.HEADER_LENGTH + len(igmp.ROUTER_ALERT)
_HEADERS6 = ipv6.HEADER_LENGTH + len(mld.HOP_BY_HOP)


def isReported(group: bytes) -> bool:
    """
    Whether a host reports its membership in a packed group. Every host is in the all-hosts and the all-nodes group, and
    no packet for an interface-local group crosses a link, so these are not reported.
    """
    return group not in (_ALL_HOSTS, _ALL_NODES) and not isInterfaceLocal(group)


@implementer(IPacketReceiver)
class GroupProtocol(PacketProtocol):
    """
    The host's part of IGMP and MLD. Add it to an L{IPProtocol<txtuntap.ip.IPProtocol>} as protocol 2 (IGMP). The ICMP
    layer passes it the messages of MLD.

    Counters: C{inQueries}, C{inReports} (reports of other hosts), C{inErrors} (messages that are malformed or of
    another type, and queries that may come from outside the link), C{outReports} (packets sent).
    """

    handlesFailures = True
    _reporter4 = Lazy(
        "_reporter4Made",
        lambda layer: Reporter(
            *(layer._clock, layer._random, igmp.VERSION),
            lambda version: igmp.recordsPerMessage(version, layer._room),
            layer._report,
        ),
    )
    _reporter6 = Lazy(
        "_reporter6Made",
        lambda layer: Reporter(
            *(layer._clock, layer._random, mld.VERSION),
            lambda version: mld.recordsPerMessage(version, layer._room6),
            layer._report6,
        ),
    )

    def __init__(
        self,
        ip: IPProtocol,
        clock: IReactorTime,
        random: Random,
        groups: Callable[[], set[bytes]],
        source: Callable[[], bytes | None],
        verifyChecksum: bool = True,
    ) -> None:
        """
        @param ip: the IP layer of the host.
        @param clock: the reactor of the host.
        @param random: chooses the delay of each answer to a query.
        @param groups: returns the packed groups of both IP versions in which the host is.
        @param source: returns the packed link-local address to send MLD reports from, or C{None} if the host has none
            yet.
        @param verifyChecksum: whether to drop an IGMP message whose checksum is wrong.
        """
        super().__init__()
        self._ip = ip
        self._groups = groups
        self._verify = verifyChecksum
        self._source = source
        # Whether an MLD report had the unspecified source address. Routers ignore such reports, so they must be sent
        # again when the host has an address.
        self._wasAnonymous = False
        self._clock = clock
        self._random = random
        self._reporter4Made: Reporter | None = None
        self._reporter6Made: Reporter | None = None

    def datagramReceived(self, *args: Any, **kwargs: Any) -> None:
        """
        Refuse the interface of C{twisted.pair}: this layer needs the L{Packet} with its headers.

        @raise TypeError: always.
        """
        raise TypeError("a GroupProtocol works only on an IPProtocol of txtuntap: add it to one with addProto")

    def doStart(self) -> None:
        """
        Report all groups, because the host is on a link now.
        """
        super().doStart()
        for group in self._groups():
            self.changed(group, True)

    def doStop(self) -> None:
        """
        Send no more reports when the last port has stopped.
        """
        super().doStop()
        if not self.numPorts:
            for reporter in self._reporters:
                reporter.stop()

    def changed(self, group: bytes, isMember: bool) -> None:
        """
        Report that the host has joined or left a packed group.

        @param isMember: whether the host is in the group now.
        """
        if self.numPorts and isReported(group):
            self._reporter(versionOf(group)).changed(group, isMember)

    def repeat(self) -> None:
        """
        Report all groups again, because the link was down and no router received the last reports.
        """
        for reporter in self._reporters:
            reporter.repeat()

    def addressConfirmed(self) -> None:
        """
        Note that an address of the host has passed duplicate address detection. If reports were sent from the
        unspecified address because there was no link-local one, send them again (RFC 3590 section 4).
        """
        if self._wasAnonymous and self._source() is not None:
            self._wasAnonymous = False
            self._reporter6.repeat()

    def tables(self) -> list[TableState]:
        """
        List the bounded tables: see L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [state for reporter in (self._reporter4, self._reporter6) for state in reporter.tables()]

    @property
    def _reporters(self) -> list[Reporter]:
        """
        The reporters that were made: those of the IP versions in which the host has a group or was asked for one.
        """
        return [each for each in (self._reporter4Made, self._reporter6Made) if each is not None]

    def _reporter(self, version: int) -> Reporter:
        return self._reporter4 if version == 4 else self._reporter6

    # Receiving

    def packetReceived(self, packet: Packet) -> None:
        """
        Process an IGMP message.

        A query without a Router Alert option may come from outside the link, so it is dropped. IGMPv1 has no such
        option, and needs none. A general query to another group than all hosts is dropped, too (RFC 3376 section 9.1).
        """
        if packet.version == 6:
            # IGMP is no protocol of IPv6, which has MLD in its place.
            return self._ip.dropped(packet, Drop.UNKNOWN_PROTOCOL)
        message = bytes(packet)
        if message[:1] and message[0] in igmp.REPORTS:
            return self.dropped(packet, Drop.OTHER_REPORT)
        query = igmp.parseQuery(message, self._verify)
        alert = igmp.ROUTER_ALERT in packet.data[packet.network + ipv4.HEADER_LENGTH : packet.transport]
        dest = packet.destAddress
        if (
            query is None
            or not (alert or query.version == 1)
            or (query.general and isMulticast(dest) and dest != _ALL_HOSTS)
        ):
            return self.dropped(packet, Drop.MALFORMED)
        self._queried(query, 4)

    def mldReceived(self, packet: Packet, message: bytes) -> None:
        """
        Process an MLD message.

        A query is dropped if its source is no link-local address, its hop limit is not 1, or it has no Router Alert
        option (RFC 3810 section 6.2).

        @param message: the ICMPv6 message, whose checksum is right.
        """
        if message[0] in mld.REPORTS:
            return self.dropped(packet, Drop.OTHER_REPORT)
        query = mld.parseQuery(message)
        alert = mld.ROUTER_ALERT in packet.data[packet.network + ipv6.HEADER_LENGTH : packet.transport]
        if query is None or not isLinkLocal(packet.sourceAddress) or packet.hopLimit != 1 or not alert:
            return self.dropped(packet, Drop.MALFORMED)
        self._queried(query, 6)

    def _queried(self, query: Query, version: int) -> None:
        self.counters["inQueries"] += 1
        self._reporter(version).queried(query)

    # Sending

    @property
    def _room(self) -> int:
        return self._ip.mtu - _HEADERS

    @property
    def _room6(self) -> int:
        return self._ip.mtu - _HEADERS6

    def _report(self, version: int, records: list[Record]) -> None:
        source = self._ip.sourceFor(igmp.ROUTERS) or UNSPECIFIED
        for dest, message in igmp.messages(version, records, self._room):
            header = ipv4.packHeader(
                source, dest, igmp.PROTOCOL, len(message), hopLimit=1, tos=igmp.TOS, options=igmp.ROUTER_ALERT
            )
            self.counters["outReports"] += 1
            self._ip.send(self._route(source, dest), IPV4, [header, message])

    def _report6(self, version: int, records: list[Record]) -> None:
        source = self._source() or UNSPECIFIED6
        self._wasAnonymous |= source == UNSPECIFIED6
        for dest, message in mld.messages(version, records, self._room6, source):
            self.counters["outReports"] += 1
            self._ip.output(self._route(source, dest), ipv6.HOP_BY_HOP, [mld.HOP_BY_HOP, message], hopLimit=1)

    def _route(self, source: bytes, dest: bytes) -> Route:
        ethernet = self._ip.ethernet
        return Route(source, dest, ethernet, b"" if ethernet is None else groupLinkAddress(dest))
