"""
Our addresses kept ours: asked for before they are used, defended after, and tried again where somebody else has one
(RFC 5227, RFC 4862 section 5.4).
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import attrs
from twisted.internet.interfaces import IReactorTime

from txtuntap.layer.timer import Timer, steadySeconds
from txtuntap.wire.address import versionOf

#: How many times an address is asked for before it is ours, by IP version (PROBE_NUM, DupAddrDetectTransmits).
PROBES = {4: 3, 6: 1}

#: Seconds before the first probe at most, between two, and after the last (RFC 5227 section 1.1, shortened as section
#: 2.1.1 of it permits who knows the link: RetransTimer of RFC 4861 for both versions).
MAX_DELAY = 0.25
INTERVAL = 1.0

#: Times an address is announced once it is ours (ANNOUNCE_NUM).
ANNOUNCEMENTS = 2

#: Seconds between two defences of an address: two hosts that claim the same one never storm (DEFEND_INTERVAL).
DEFEND_INTERVAL = 10.0

#: Seconds until an address that somebody else has is tried again, between these by chance, so that of two who want it
#: one is first. After so many conflicts, it is tried once in so many seconds (MAX_CONFLICTS, RATE_LIMIT_INTERVAL).
RETRY = 1.0, 10.0
MAX_CONFLICTS = 10
RATE_LIMIT_INTERVAL = 60.0


@attrs.define
class _Claim:
    """
    @ivar timer: is due at the next step.
    @ivar isSuspended: whether somebody else has the address, and it is to be tried again.
    """

    probes: int = 0
    announcements: int = 0
    conflicts: int = 0
    isSuspended: bool = False
    defended: float | None = None
    timer: Timer = attrs.field(init=False)

    @property
    def tentative(self) -> bool:
        return self.announcements == 0


class AddressGuard:
    """
    Claims addresses on a link. While it asks whether anybody has an address, the address is used already, as by an
    optimistic host (RFC 4429): a host in a program is asked as soon as it is there. One that somebody else has is not
    used, and tried again: anybody can forge a claim, and whoever made it may leave.
    """

    def __init__(
        self,
        clock: IReactorTime,
        random: Random,
        probe: Callable[[bytes], None],
        announce: Callable[[bytes], None],
        lost: Callable[[bytes, bytes], None],
        confirmed: Callable[[bytes], None],
    ) -> None:
        """
        @param probe: called with a packed address to ask whether anybody has it; C{announce} to say that it is ours.
        @param lost: called with an address that is another's, and the station that has it, each time that it is found
            out.
        @param confirmed: called with an address that nobody else has, before it is announced.
        """
        self._clock = clock
        self._now = steadySeconds(clock)
        self._random = random
        self._probe = probe
        self._announce = announce
        self._lost = lost
        self._confirmed = confirmed
        self._claims: dict[bytes, _Claim] = {}

    def claim(self, address: bytes) -> None:
        """
        Begin to ask for an address.
        """
        self.release(address)
        claim = self._claims[address] = _Claim()
        claim.timer = Timer(self._clock, self._timerDue, address, claim)
        claim.timer.arm(self._random.random() * MAX_DELAY)

    def release(self, address: bytes) -> None:
        """
        Ask for an address no more, nor defend it.
        """
        claim = self._claims.pop(address, None)
        if claim is not None:
            claim.timer.stop()

    def clear(self) -> None:
        """
        Release all addresses.
        """
        for address in list(self._claims):
            self.release(address)

    def isTentative(self, address: bytes) -> bool:
        """
        Whether an address is being asked for, or will be again.
        """
        claim = self._claims.get(address)
        return claim is not None and claim.tentative

    def isAskedFor(self, address: bytes) -> bool:
        """
        Whether an address is being asked for: it is not its owner's, but nobody else's either.
        """
        claim = self._claims.get(address)
        return claim is not None and claim.tentative and not claim.isSuspended

    def conflict(self, address: bytes, station: bytes) -> None:
        """
        Another station claims an address. While it is asked for, the other has it, until it is tried again. An address
        that was ours before is defended and kept.
        """
        claim = self._claims.get(address)
        if claim is None or claim.isSuspended:
            return
        now = self._now()
        if claim.tentative:
            claim.conflicts += 1
            claim.probes = 0
            claim.isSuspended = True
            seconds = self._random.uniform(*RETRY)
            if claim.conflicts >= MAX_CONFLICTS:
                seconds += RATE_LIMIT_INTERVAL
            claim.timer.arm(seconds)
            self._lost(address, station)
        elif claim.defended is None or not 0 <= now - claim.defended < DEFEND_INTERVAL:
            claim.defended = now
            self._announce(address)

    def _timerDue(self, address: bytes, claim: _Claim) -> None:
        claim.isSuspended = False
        if claim.probes < PROBES[versionOf(address)]:
            claim.probes += 1
            self._probe(address)
        else:
            if claim.tentative:
                self._confirmed(address)
                if self._claims.get(address) is not claim:
                    # The program has removed it when it was told.
                    return
            claim.announcements += 1
            self._announce(address)
            if claim.announcements == ANNOUNCEMENTS:
                return
        claim.timer.arm(INTERVAL)
