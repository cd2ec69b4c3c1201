"""
When to say which groups we are in: the host's part of IGMP (RFC 3376 section 5) and of MLD (RFC 3810 section 6), which
differ in their messages only.

A change is reported at once, and once more; a question is answered after a random time. Where a querier speaks an older
version, so do we (RFC 3376 section 7.2.1, RFC 3810 section 8.2.1).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from random import Random

from twisted.internet.interfaces import IReactorTime

from txtuntap.layer.bounded import Policy, TableState
from txtuntap.layer.timer import Timer, steadySeconds
from txtuntap.wire.igmp import IS_EXCLUDE, TO_EXCLUDE, TO_INCLUDE, Query, Record

#: How often a change is reported, and within how many seconds again (Robustness Variable, Unsolicited Report Interval).
ROBUSTNESS = 2
UNSOLICITED_INTERVAL = 1.0

#: Seconds for which a querier of an older version counts after it asked (Older Version Querier Present Timeout): twice
#: the time from one question to the next, and the time for an answer, as they are by default.
OLDER_QUERIER_PRESENT = 2 * 125.0 + 10.0

#: Packets that are sent at once, and seconds from then to the next: however much there is to report, and however often
#: somebody asks.
MAX_AT_ONCE = 16
PAUSE = 0.1

#: Groups that were left, and wait to be reported. With more, groups are left without a report: routers ask in vain.
MAX_CHANGES = 2048


class Reporter:
    """
    Says which groups we are in, of one version of IP.

    @ivar groups: packed groups that we are in, as far as routers are to know.
    """

    def __init__(
        self,
        clock: IReactorTime,
        random: Random,
        version: int,
        fits: Callable[[int], int],
        send: Callable[[int, list[Record]], None],
    ) -> None:
        """
        @param version: the newest of the protocol.
        @param fits: tells, for a version, how many records go into one packet.
        @param send: called with a version and records.
        """
        self._now = steadySeconds(clock)
        self._random = random
        self._newest = version
        self._fits = fits
        self._send = send
        self.groups: set[bytes] = set()
        # How often each change has to be reported yet; which of these groups we have left; and what a query was about.
        self._changes: dict[bytes, int] = {}
        self._left: set[bytes] = set()
        self._queriedGroups: set[bytes] = set()
        self._reporting = Timer(clock, self._report)
        self._answering = Timer(clock, self._answer)
        self._lastReport: float | None = None
        # When a querier of an older version has asked last.
        self._olderQueriers: dict[int, float] = {}

    def changed(self, group: bytes, isIn: bool) -> None:
        """
        We are in a packed group now, or in it no longer.
        """
        if isIn == (group in self.groups):
            return
        if isIn:
            self.groups.add(group)
            self._left.discard(group)
            self._changes[group] = ROBUSTNESS
        else:
            self.groups.remove(group)
            if len(self._left) < MAX_CHANGES:
                self._left.add(group)
                self._changes[group] = ROBUSTNESS
            else:
                self._changes.pop(group, None)
        self._reportSoon()

    def tables(self) -> list[TableState]:
        """
        See L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [TableState("groups left", len(self._left), MAX_CHANGES, Policy.REFUSE.value)]

    def repeat(self) -> None:
        """
        Report all groups again, because nobody has received the reports before.
        """
        self._changes.update(dict.fromkeys(self.groups, ROBUSTNESS))
        self._reportSoon()

    def queried(self, query: Query) -> None:
        """
        A query of a router has come.
        """
        # An IGMPv2 question about one group says nothing about the querier's version.
        if query.version < self._newest and (query.general or query.version == 1):
            before = self.version
            self._olderQueriers[query.version] = self._now()
            if self.version != before:
                self._forget()
        asked = self.groups if query.general else self.groups & {query.group}
        if asked:
            # One answer for all that is asked, in time for the most pressing: whoever names a long time must not keep
            # others from theirs.
            self._queriedGroups |= asked
            _within(self._answering, PAUSE + self._random.random() * max(0.0, query.delay - PAUSE))

    def stop(self) -> None:
        """
        There is nobody to report to any more.
        """
        self._forget()
        self._olderQueriers.clear()
        self.groups = set()

    @property
    def version(self) -> int:
        """
        The version of the protocol that is spoken now.
        """
        now = self._now()
        heard = [version for version, when in self._olderQueriers.items() if 0 <= now - when < OLDER_QUERIER_PRESENT]
        return min(heard, default=self._newest)

    def _forget(self) -> None:
        self._changes.clear()
        self._left.clear()
        self._queriedGroups.clear()
        self._reporting.stop()
        self._answering.stop()

    def _reportSoon(self) -> None:
        """
        Report changes at once: all changes of one turn of the reactor are in one report.
        """
        if self._changes:
            since = PAUSE if self._lastReport is None else self._now() - self._lastReport
            _within(self._reporting, PAUSE - since if 0 <= since < PAUSE else 0.0)

    def _report(self) -> None:
        version = self.version
        # Changes that have not been reported at all come first.
        reported = sorted(self._changes, key=lambda group: -self._changes[group])[: self._atOnce(version)]
        left = self._changes[reported[0]]
        for group in reported:
            self._changes[group] -= 1
            if not self._changes[group]:
                del self._changes[group]
                self._left.discard(group)
        self._lastReport = self._now()
        if self._changes:
            goesOn = max(self._changes.values()) == left
            _within(self._reporting, PAUSE if goesOn else max(PAUSE, self._random.random() * UNSOLICITED_INTERVAL))
        self._send(version, [(TO_EXCLUDE if group in self.groups else TO_INCLUDE, group) for group in reported])

    def _answer(self) -> None:
        version = self.version
        reported = list(islice(self._queriedGroups, self._atOnce(version)))
        self._queriedGroups.difference_update(reported)
        if self._queriedGroups:
            _within(self._answering, PAUSE)
        self._send(version, [(IS_EXCLUDE, group) for group in reported if group in self.groups])

    def _atOnce(self, version: int) -> int:
        return MAX_AT_ONCE * self._fits(version)


def _within(timer: Timer, seconds: float) -> None:
    """
    Have a timer be due in so many seconds at the latest.
    """
    if timer.left > seconds:
        timer.arm(seconds)
