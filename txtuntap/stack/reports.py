"""
The times at which a host reports its multicast groups, for IGMP and for MLD, which differ only in their messages.

Read RFC 3376 sections 5 and 7.2 first. RFC 3810 sections 6 and 8.2 describe the same for MLD.

A change is reported at once, and once more after a random time. A query is answered after a random time. While there is
a querier with an older version of the protocol, the host uses that version.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from itertools import islice
from random import Random

from twisted.internet.interfaces import IReactorTime

from txtuntap.layer.bounded import Policy, TableState
from txtuntap.layer.lazy import NONE, added, discard
from txtuntap.layer.timer import Timer, steadySeconds
from txtuntap.wire.igmp import IS_EXCLUDE, TO_EXCLUDE, TO_INCLUDE, Query, Record

#: The number of times that a change is reported (Robustness Variable).
ROBUSTNESS = 2

#: The longest time between two reports of a change, in seconds (Unsolicited Report Interval).
UNSOLICITED_INTERVAL = 1.0

#: The seconds for which an older version is used after a query of that version (Older Version Querier Present
#: Timeout): twice the default Query Interval plus the default Query Response Interval.
OLDER_QUERIER_PRESENT = 2 * 125.0 + 10.0

#: The most packets that are sent in one burst, however many groups there are and however often queries arrive.
MAX_AT_ONCE = 16

#: The least seconds between two bursts.
PAUSE = 0.1

#: The most groups whose leaving is still to be reported. Leaving a further group is not reported. A router notices it
#: only when its next query for the group has no answer.
MAX_CHANGES = 2048


class Reporter:
    """
    Decides when the groups of a host are reported, for one version of IP.

    @ivar groups: the packed groups in which the host is and which are reported.
    """

    __slots__ = (
        "_answering",
        "_changes",
        "_fits",
        "_lastReport",
        "_leftGroups",
        "_newest",
        "_now",
        "_olderQueriers",
        "_queriedGroups",
        "_random",
        "_reporting",
        "_send",
        "groups",
    )

    def __init__(
        self,
        clock: IReactorTime,
        random: Random,
        version: int,
        fits: Callable[[int], int],
        send: Callable[[int, list[Record]], None],
    ) -> None:
        """
        @param clock: the reactor of the host.
        @param random: chooses the delays.
        @param version: the newest version of the protocol.
        @param fits: returns for a version how many records fit into one packet.
        @param send: called with a version and records, to send a report.
        """
        self._now = steadySeconds(clock)
        self._random = random
        self._newest = version
        self._fits = fits
        self._send = send
        self.groups: set[bytes] = set()
        # The number of reports still to be sent, for each group that was joined or left.
        self._changes: dict[bytes, int] = {}
        # The groups in C{_changes} that were left.
        self._leftGroups: Set[bytes] = NONE
        # The groups that the next answer to a query reports.
        self._queriedGroups: frozenset[bytes] = NONE
        self._reporting = Timer(clock, self._report)
        self._answering = Timer(clock, self._answer)
        self._lastReport: float | None = None
        # The time of the last query from a querier of each older version.
        self._olderQueriers: dict[int, float] = {}

    def changed(self, group: bytes, isMember: bool) -> None:
        """
        Report that the host has joined or left a packed group.

        @param isMember: whether the host is in the group now.
        """
        if isMember == (group in self.groups):
            return
        if isMember:
            self.groups.add(group)
            discard(self._leftGroups, group)
            self._changes[group] = ROBUSTNESS
        else:
            self.groups.remove(group)
            if len(self._leftGroups) < MAX_CHANGES:
                self._leftGroups = added(self._leftGroups, group)
                self._changes[group] = ROBUSTNESS
            else:
                self._changes.pop(group, None)
        self._reportSoon()

    def tables(self) -> list[TableState]:
        """
        List the bounded tables: see L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [TableState("groups left", len(self._leftGroups), MAX_CHANGES, Policy.REFUSE.value)]

    def repeat(self) -> None:
        """
        Report all groups again, because no router has received the reports before.
        """
        self._changes.update(dict.fromkeys(self.groups, ROBUSTNESS))
        self._reportSoon()

    def queried(self, query: Query) -> None:
        """
        Process a query: answer it after a random time.
        """
        # A group-specific query of version 2 does not prove that the querier is of that version.
        if query.version < self._newest and (query.general or query.version == 1):
            before = self.version
            self._olderQueriers[query.version] = self._now()
            if self.version != before:
                self._forget()
        asked = self.groups if query.general else self.groups & {query.group}
        if asked:
            # One answer serves all queries, and is sent in time for the most urgent one. A forged query with a long
            # delay must not postpone the answers to others.
            self._queriedGroups = self._queriedGroups.union(asked)
            _armWithin(self._answering, PAUSE + self._random.random() * max(0.0, query.delay - PAUSE))

    def stop(self) -> None:
        """
        Send no more reports, because the host is on no link any more.
        """
        self._forget()
        self._olderQueriers.clear()
        self.groups = set()

    @property
    def version(self) -> int:
        """
        The version of the protocol that the host uses now: the oldest of its queriers' versions.
        """
        now = self._now()
        heard = [version for version, when in self._olderQueriers.items() if 0 <= now - when < OLDER_QUERIER_PRESENT]
        return min(heard, default=self._newest)

    def _forget(self) -> None:
        self._changes.clear()
        self._leftGroups = self._queriedGroups = NONE
        self._reporting.stop()
        self._answering.stop()

    def _reportSoon(self) -> None:
        """
        Report changes at once, but not sooner than L{PAUSE} after the last report. The timer puts all changes of one
        reactor turn into one report.
        """
        if self._changes:
            since = PAUSE if self._lastReport is None else self._now() - self._lastReport
            _armWithin(self._reporting, PAUSE - since if 0 <= since < PAUSE else 0.0)

    def _report(self) -> None:
        version = self.version
        # Changes with the most reports to be sent come first, because they may not have been reported at all.
        reported = sorted(self._changes, key=lambda group: -self._changes[group])[: self._maxRecords(version)]
        mostReports = self._changes[reported[0]]
        for group in reported:
            self._changes[group] -= 1
            if not self._changes[group]:
                del self._changes[group]
                discard(self._leftGroups, group)
        self._lastReport = self._now()
        if self._changes:
            isRoundUnfinished = max(self._changes.values()) == mostReports
            delay = PAUSE if isRoundUnfinished else max(PAUSE, self._random.random() * UNSOLICITED_INTERVAL)
            _armWithin(self._reporting, delay)
        self._send(version, [(TO_EXCLUDE if group in self.groups else TO_INCLUDE, group) for group in reported])

    def _answer(self) -> None:
        version = self.version
        reported = list(islice(self._queriedGroups, self._maxRecords(version)))
        self._queriedGroups = self._queriedGroups.difference(reported)
        if self._queriedGroups:
            _armWithin(self._answering, PAUSE)
        self._send(version, [(IS_EXCLUDE, group) for group in reported if group in self.groups])

    def _maxRecords(self, version: int) -> int:
        """
        The most records that one burst of packets can carry.
        """
        return MAX_AT_ONCE * self._fits(version)


def _armWithin(timer: Timer, seconds: float) -> None:
    """
    Set a timer to fire after C{seconds}, unless it fires sooner.
    """
    if timer.left > seconds:
        timer.arm(seconds)
