"""
Duplicate address detection: a host probes for each of its addresses, and defends an address that no other station has.
If another station has the address, the host suspends it and probes for it again later.

Read RFC 5227 section 2 (for IPv4) and RFC 4862 section 5.4 (for IPv6) first.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import attrs
from twisted.internet.interfaces import IReactorTime

from txtuntap.layer.timer import Timer, steadySeconds
from txtuntap.wire.address import versionOf

#: The number of probes for an address, by IP version (PROBE_NUM of RFC 5227, DupAddrDetectTransmits of RFC 4862).
PROBES = {4: 3, 6: 1}

#: The longest delay before the first probe, in seconds.
MAX_DELAY = 0.25

#: The seconds between two probes, and from the last probe to the first announcement. RFC 5227 section 2.1.1 permits
#: shorter times than its own for a known link. This time is the RetransTimer of RFC 4861.
INTERVAL = 1.0

#: The number of announcements of an address that has passed the detection (ANNOUNCE_NUM of RFC 5227).
ANNOUNCEMENTS = 2

#: The least seconds between two defences of an address (DEFEND_INTERVAL of RFC 5227). Without it, two hosts with one
#: address would send endless announcements.
DEFEND_INTERVAL = 10.0

#: The shortest and the longest time in seconds after a conflict, until the host probes for the address again. The time
#: is random, so that one of two hosts that want the address is first.
RETRY = 1.0, 10.0

#: After C{MAX_CONFLICTS} conflicts, the host waits C{RATE_LIMIT_INTERVAL} more seconds before each attempt (RFC 5227).
MAX_CONFLICTS = 10
RATE_LIMIT_INTERVAL = 60.0


@attrs.define
class _Claim:
    """
    The state of the detection and the defence of one address.

    @ivar probes: the number of probes sent in this attempt.
    @ivar announcements: the number of announcements sent.
    @ivar conflicts: the number of conflicts during the detection.
    @ivar isSuspended: whether another station has the address, so that the host waits for the next attempt.
    @ivar defended: the time of the last defence in seconds; C{None} if there was none.
    @ivar timer: runs until the next step; C{None} after the last one, because nearly all hosts stay there.
    """

    probes: int = 0
    announcements: int = 0
    conflicts: int = 0
    isSuspended: bool = False
    defended: float | None = None
    timer: Timer | None = None

    @property
    def tentative(self) -> bool:
        return self.announcements == 0


class AddressGuard:
    """
    Claims the addresses of a host on its link, and defends them.

    The host uses an address already while it probes for it (optimistic duplicate address detection, RFC 4429), because
    a program sends packets as soon as it has made the host. The host stops using an address that another station has.
    It probes for that address again later, because the claim may have been forged, or the other station may leave.
    """

    __slots__ = ("_announce", "_claims", "_clock", "_confirmed", "_lost", "_now", "_probe", "_random")

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
        @param clock: the reactor of the host.
        @param random: chooses the delay of the first probe and of the next attempt.
        @param probe: called with a packed address to send a probe for it.
        @param announce: called with a packed address to announce that the host has it.
        @param lost: called at each conflict that suspends an address, with the packed address and the link address of
            the station that has it.
        @param confirmed: called with a packed address that has passed the detection, before it is announced.
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
        Begin the detection for an address: send the first probe after a short random delay.
        """
        self.release(address)
        claim = self._claims[address] = _Claim()
        self._arm(address, claim, self._random.random() * MAX_DELAY)

    def release(self, address: bytes) -> None:
        """
        Stop the detection and the defence of an address.
        """
        claim = self._claims.pop(address, None)
        if claim is not None and claim.timer is not None:
            claim.timer.stop()

    def clear(self) -> None:
        """
        Stop the detection and the defence of all addresses.
        """
        for address in list(self._claims):
            self.release(address)

    def isTentative(self, address: bytes) -> bool:
        """
        Whether an address has not passed the detection yet. The address is then being probed, or it is suspended until
        the next attempt.
        """
        claim = self._claims.get(address)
        return claim is not None and claim.tentative

    def isProbing(self, address: bytes) -> bool:
        """
        Whether an address is being probed now, so that no other station is known to have it.
        """
        claim = self._claims.get(address)
        return claim is not None and claim.tentative and not claim.isSuspended

    def conflict(self, address: bytes, station: bytes) -> None:
        """
        Note that another station claims an address of the host.

        An address that is being probed is suspended until the next attempt. An address that has passed the detection is
        kept, and defended by an announcement.

        @param address: the packed address.
        @param station: the link address of the other station.
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
            self._arm(address, claim, seconds)
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
                    # The callback has removed the address.
                    return
            claim.announcements += 1
            self._announce(address)
            if claim.announcements == ANNOUNCEMENTS:
                claim.timer = None
                return
        self._arm(address, claim, INTERVAL)

    def _arm(self, address: bytes, claim: _Claim, seconds: float) -> None:
        if claim.timer is None:
            claim.timer = Timer(self._clock, self._timerDue, address, claim)
        claim.timer.arm(seconds)
