"""
Groups that a host is in, told to the routers and switches of its link: the host's part of IGMPv3 (RFC 3376 section 5)
and MLDv2 (RFC 3810 section 6), which differ in their messages only.

Reports are of these versions whatever a querier speaks: what asks in an older one, takes them for unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from txtuntap.interfaces import IPacketReceiver, IRawDatagramProtocol
from txtuntap.ip import IPProtocol
from txtuntap.layer import Layer
from txtuntap.packet import Packet
from txtuntap.routing import Route
from txtuntap.wire import icmp, igmp, ipv4, ipv6, mld
from txtuntap.wire.address import groupLinkAddress, packAddress
from txtuntap.wire.ethernet import IPV4

#: How often a change is told, and within how many seconds the second time (Robustness Variable, Unsolicited Report
#: Interval).
ROBUSTNESS = 2
UNSOLICITED_INTERVAL = 1.0

#: Seconds between two reports of all there is, however often somebody asks.
QUERY_INTERVAL = 1.0

#: Where reports go (RFC 3376 section 4.2.14, RFC 3810 section 5.2.14).
_ROUTERS = packAddress("224.0.0.22")
_ROUTERS6 = packAddress("ff02::16")

_ALL_HOSTS = packAddress("224.0.0.1")
_ALL_NODES = packAddress("ff02::1")

#: The widest scope that goes no further than the host (RFC 4291 section 2.7).
_INTERFACE_LOCAL = 1

Records = Sequence[tuple[int, bytes]]


def isReported(group: bytes) -> bool:
    """
    Whether routers are to be told that we are in a packed group: not in those that everybody is in, nor in those that
    nothing comes to from outside.
    """
    if len(group) == 4:
        return group != _ALL_HOSTS
    return group != _ALL_NODES and group[1] & 0x0F > _INTERFACE_LOCAL


class Reporter:
    """
    Says which groups we are in, of one IP version: when that changes, and when somebody asks.

    @ivar groups: packed groups to report.
    """

    def __init__(self, clock: IReactorTime, random: Random, send: Callable[[Records], None]) -> None:
        """
        @param send: called with records: type and group.
        """
        self._clock = clock
        self._random = random
        self._send = send
        self.groups: set[bytes] = set()
        # Changes that have to be told yet: type of record, and how often.
        self._changes: dict[bytes, tuple[int, int]] = {}
        self._changing: IDelayedCall | None = None
        # What was asked for: groups, or everything.
        self._asked: set[bytes] | None = set()
        self._answering: IDelayedCall | None = None
        self._answered: float | None = None

    def update(self, groups: set[bytes]) -> None:
        """
        We are in these groups now.
        """
        for kind, changed in (igmp.TO_EXCLUDE, groups - self.groups), (igmp.TO_INCLUDE, self.groups - groups):
            for group in changed:
                self._changes[group] = kind, ROBUSTNESS
        self.groups = groups
        if self._changes and (self._changing is None or self._changing.getTime() > self._clock.seconds()):
            # At once; but what changes in one turn goes in one report.
            self._cancel(self._changing)
            self._changing = self._clock.callLater(0, self._tellChanges)

    def queried(self, delay: float, group: bytes | None) -> None:
        """
        Somebody asks.

        @param delay: within how many seconds to answer.
        @param group: which group is asked about; L{None}: all.
        """
        if not self.groups or (group is not None and group not in self.groups):
            return
        if group is None:
            self._asked = None
        elif self._asked is not None:
            self._asked.add(group)
        now = self._clock.seconds()
        delay *= self._random.random()
        if self._answered is not None and 0 <= now - self._answered < QUERY_INTERVAL:
            delay = max(delay, self._answered + QUERY_INTERVAL - now)
        if self._answering is None:
            self._answering = self._clock.callLater(delay, self._answer)

    def stop(self) -> None:
        """
        There is nobody to tell any more.
        """
        self._cancel(self._changing)
        self._cancel(self._answering)
        self._changing = self._answering = None
        self._changes.clear()
        self._asked = set()
        self.groups = set()

    def _tellChanges(self) -> None:
        self._changing = None
        records = [(kind, group) for group, (kind, _) in self._changes.items()]
        self._changes = {group: (kind, left - 1) for group, (kind, left) in self._changes.items() if left > 1}
        if self._changes:
            delay = UNSOLICITED_INTERVAL * self._random.random()
            self._changing = self._clock.callLater(delay, self._tellChanges)
        self._send(records)

    def _answer(self) -> None:
        self._answering = None
        self._answered = self._clock.seconds()
        asked, self._asked = self._asked, set()
        groups = self.groups if asked is None else self.groups & asked
        if groups:
            self._send([(igmp.IS_EXCLUDE, group) for group in sorted(groups)])

    def _cancel(self, call: IDelayedCall | None) -> None:
        if call is not None and call.active():
            call.cancel()


@implementer(IRawDatagramProtocol, IPacketReceiver)
class GroupProtocol(Layer):
    """
    IGMP, to be added to an L{IPProtocol<txtuntap.ip.IPProtocol>} under 2; and MLD, which ICMP hands it.

    Counters: C{inQueries}, C{inErrors} (what is no query, or may not be one), C{outReports} (packets).
    """

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
        self._reporters = {4: Reporter(clock, random, self._report), 16: Reporter(clock, random, self._report6)}

    def addProto(self, num: int, proto: Any) -> None:
        """
        There is nothing above IGMP.
        """
        raise TypeError("no protocol can be added above IGMP")

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
        self.changed()

    def doStop(self) -> None:
        """
        There is nobody any more.
        """
        super().doStop()
        for reporter in self._reporters.values():
            reporter.stop()

    def changed(self) -> None:
        """
        We are in other groups now.
        """
        if self.numPorts:
            groups = set(filter(isReported, self._groups()))
            for size, reporter in self._reporters.items():
                reporter.update({group for group in groups if len(group) == size})

    def packetReceived(self, packet: Packet) -> None:
        """
        An IGMP message has come. A query has the Router Alert option (RFC 3376 section 9.1), but for one of version 1,
        which knew of none.
        """
        query = igmp.parseQuery(bytes(packet), self._verify)
        alert = igmp.ROUTER_ALERT in packet.data[packet.network + ipv4.HEADER_LENGTH : packet.transport]
        if query is None or not (alert or not packet.data[packet.start + 1]):
            return self.dropped(packet, "inErrors")
        self._queried(*query, size=4)

    def queryReceived(self, packet: Packet, message: bytes) -> None:
        """
        An MLD query has come: from a link-local address, by one hop, with the Router Alert option (RFC 3810 section
        6.2).

        @param message: the ICMPv6 message, which sums up.
        """
        query = mld.parseQuery(message)
        source = packet.sourceAddress
        alert = mld.ROUTER_ALERT in packet.data[packet.network + ipv6.HEADER_LENGTH : packet.transport]
        linkLocal = source[0] == 0xFE and source[1] & 0xC0 == 0x80
        if query is None or not linkLocal or packet.hopLimit != 1 or not alert:
            return self.dropped(packet, "inErrors")
        self._queried(*query, size=16)

    def _queried(self, delay: float, group: bytes | None, size: int) -> None:
        self.counters["inQueries"] += 1
        self._reporters[size].queried(delay, group)

    def _report(self, records: Records) -> None:
        source = self._ip.sourceFor(_ROUTERS) or bytes(4)
        header = ipv4.HEADER_LENGTH + len(igmp.ROUTER_ALERT)
        for part in self._parts(records, header + igmp.HEADER_LENGTH, igmp.RECORD_LENGTH):
            message = igmp.packReport(part)
            packed = ipv4.packHeader(
                source, _ROUTERS, igmp.PROTOCOL, len(message), hopLimit=1, options=igmp.ROUTER_ALERT
            )
            self._ip.send(self._route(source, _ROUTERS), IPV4, [packed, message])

    def _report6(self, records: Records) -> None:
        source = self._source() or bytes(16)
        header = ipv6.HEADER_LENGTH + len(mld.HOP_BY_HOP) + icmp.HEADER_LENGTH
        for part in self._parts(records, header, mld.RECORD_LENGTH):
            message = mld.packReport(part, source, _ROUTERS6)
            route = self._route(source, _ROUTERS6)
            self._ip.output(route, ipv6.HOP_BY_HOP, [mld.HOP_BY_HOP, message], hopLimit=1)

    def _route(self, source: bytes, dest: bytes) -> Route:
        ethernet = self._ip.ethernet
        return Route(source, dest, ethernet, b"" if ethernet is None else groupLinkAddress(dest))

    def _parts(self, records: Records, header: int, each: int) -> list[Records]:
        """
        Records by packets that fit the link.
        """
        most = max(1, (self._ip.mtu - header) // each)
        parts = [records[at : at + most] for at in range(0, len(records), most)]
        self.counters["outReports"] += len(parts)
        return parts
