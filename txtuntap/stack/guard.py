"""
Our addresses kept ours: asked for before they are used, and defended after (RFC 5227, RFC 4862 section 5.4).
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import attrs
from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: How many times an address is asked for before it is ours, by its octets (PROBE_NUM, DupAddrDetectTransmits).
PROBES = {4: 3, 16: 1}

#: Seconds before the first probe at most, between two, and after the last (RFC 5227 section 1.1, shortened as section
#: 2.1.1 of it permits who knows the link: RetransTimer of RFC 4861 for both versions).
MAX_DELAY = 0.25
INTERVAL = 1.0

#: Times an address is announced once it is ours (ANNOUNCE_NUM).
ANNOUNCEMENTS = 2

#: Seconds between two defences of an address: two hosts that claim the same one never storm (DEFEND_INTERVAL).
DEFEND_INTERVAL = 10.0


@attrs.define
class _Claim:
    probes: int = 0
    announcements: int = 0
    defended: float | None = None
    call: IDelayedCall | None = None

    @property
    def tentative(self) -> bool:
        return self.announcements == 0


class AddressGuard:
    """
    Claims addresses on a link. While it asks whether anybody has an address, the address is used already, as by an
    optimistic host (RFC 4429): a host in a program is asked as soon as it is there.
    """

    def __init__(
        self,
        clock: IReactorTime,
        random: Random,
        probe: Callable[[bytes], None],
        announce: Callable[[bytes], None],
        lost: Callable[[bytes, bytes], None],
    ) -> None:
        """
        @param probe: called with a packed address to ask whether anybody has it; C{announce} to say that it is ours.
        @param lost: called with an address that is another's, and the station that has it.
        """
        self._clock = clock
        self._random = random
        self._probe = probe
        self._announce = announce
        self._lost = lost
        self._claims: dict[bytes, _Claim] = {}

    def claim(self, address: bytes) -> None:
        """
        Begin to ask for an address.
        """
        self.release(address)
        claim = self._claims[address] = _Claim()
        claim.call = self._clock.callLater(self._random.random() * MAX_DELAY, self._next, address, claim)

    def release(self, address: bytes) -> None:
        """
        Ask for an address no more, nor defend it.
        """
        claim = self._claims.pop(address, None)
        if claim is not None and claim.call is not None and claim.call.active():
            claim.call.cancel()

    def clear(self) -> None:
        """
        Release all addresses.
        """
        for address in list(self._claims):
            self.release(address)

    def isTentative(self, address: bytes) -> bool:
        """
        Whether an address is still being asked for.
        """
        claim = self._claims.get(address)
        return claim is not None and claim.tentative

    def conflict(self, address: bytes, station: bytes) -> None:
        """
        Somebody says that an address is theirs. If we were only asking for it, it is; if it was ours before, we say so,
        and keep it.
        """
        claim = self._claims.get(address)
        if claim is None:
            return
        now = self._clock.seconds()
        if claim.tentative:
            self.release(address)
            self._lost(address, station)
        elif claim.defended is None or not 0 <= now - claim.defended < DEFEND_INTERVAL:
            claim.defended = now
            self._announce(address)

    def _next(self, address: bytes, claim: _Claim) -> None:
        if claim.probes < PROBES[len(address)]:
            claim.probes += 1
            self._probe(address)
        else:
            claim.announcements += 1
            self._announce(address)
            if claim.announcements == ANNOUNCEMENTS:
                return
        claim.call = self._clock.callLater(INTERVAL, self._next, address, claim)
