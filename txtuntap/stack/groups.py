"""
Groups that a host is in, told to the routers and switches of its link: the messages of IGMP (RFC 3376) and MLD (RFC
3810). When they are sent is in L{txtuntap.stack.reports}.
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

#: The octets of the headers before a message.
_HEADERS = ipv4.HEADER_LENGTH + len(igmp.ROUTER_ALERT)
_HEADERS6 = ipv6.HEADER_LENGTH + len(mld.HOP_BY_HOP)


def isReported(group: bytes) -> bool:
    """
    Whether routers are to be told that we are in a packed group: not in those that everybody is in, nor in those that
    nothing comes to from outside.
    """
    return group not in (_ALL_HOSTS, _ALL_NODES) and not isInterfaceLocal(group)


@implementer(IPacketReceiver)
class GroupProtocol(PacketProtocol):
    """
    IGMP, to be added to an L{IPProtocol<txtuntap.ip.IPProtocol>} under 2; and MLD, which ICMP hands it.

    Counters: C{inQueries}, C{inReports} (other members'), C{inErrors} (what is neither, or a query that must not be
    believed), C{outReports} (packets).
    """

    handlesFailures = True

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
        @param groups: tells the packed groups that we are in, of both versions.
        @param source: tells the packed link-local address of ours to leave from; L{None}: there is none yet.
        @param verifyChecksum: whether to drop IGMP messages that do not sum up.
        """
        super().__init__()
        self._ip = ip
        self._groups = groups
        self._verify = verifyChecksum
        self._source = source
        # Whether what was told over IPv6 came from nobody: routers do not listen to that.
        self._anonymous = False
        self._reporters = {
            4: Reporter(clock, random, igmp.VERSION, lambda version: igmp.fits(version, self._room), self._report),
            6: Reporter(clock, random, mld.VERSION, lambda version: mld.fits(version, self._room6), self._report6),
        }

    def datagramReceived(self, *args: Any, **kwargs: Any) -> None:
        """
        Only packets are understood here.
        """
        raise TypeError("GroupProtocol goes on an IPProtocol of txtuntap")

    def doStart(self) -> None:
        """
        There is somebody to tell.
        """
        super().doStart()
        for group in self._groups():
            self.changed(group, True)

    def doStop(self) -> None:
        """
        There is nobody any more.
        """
        super().doStop()
        if not self.numPorts:
            for reporter in self._reporters.values():
                reporter.stop()

    def changed(self, group: bytes, isIn: bool) -> None:
        """
        We are in a packed group now, or in it no longer.
        """
        if self.numPorts and isReported(group):
            self._reporters[versionOf(group)].changed(group, isIn)

    def repeat(self) -> None:
        """
        Tell all again: the link was down.
        """
        for reporter in self._reporters.values():
            reporter.repeat()

    def settled(self) -> None:
        """
        An address is no longer being asked for. If routers did not listen for want of one, tell them again (RFC 3590
        section 4).
        """
        if self._anonymous and self._source() is not None:
            self._anonymous = False
            self._reporters[6].repeat()

    def tables(self) -> list[TableState]:
        """
        See L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [state for reporter in self._reporters.values() for state in reporter.tables()]

    # Up

    def packetReceived(self, packet: Packet) -> None:
        """
        An IGMP message has come. A query may be from outside the link, and is ignored, if it has no Router Alert option
        (version 1 knew of none), or is about all groups but goes to one of them (RFC 3376 section 9.1).
        """
        if packet.version == 6:
            # IPv6 has MLD, and knows nothing of IGMP.
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
        An MLD message has come. A query is from a link-local address, and has come by one hop and with the Router Alert
        option (RFC 3810 section 6.2).

        @param message: the ICMPv6 message, which sums up.
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
        self._reporters[version].queried(query)

    # Down

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
        self._anonymous |= source == UNSPECIFIED6
        for dest, message in mld.messages(version, records, self._room6, source):
            self.counters["outReports"] += 1
            self._ip.output(self._route(source, dest), ipv6.HOP_BY_HOP, [mld.HOP_BY_HOP, message], hopLimit=1)

    def _route(self, source: bytes, dest: bytes) -> Route:
        ethernet = self._ip.ethernet
        return Route(source, dest, ethernet, b"" if ethernet is None else groupLinkAddress(dest))
