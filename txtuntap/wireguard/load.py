"""
The load by handshakes: how many may cost an exchange of keys, and what proves an address when they are too many.

Read the whitepaper, section 5.3, first.
"""

from __future__ import annotations

from typing import Final

from txtuntap.layer.bounded import Policy, Table, TableState
from txtuntap.layer.tokenbucket import TokenBucket

#: Handshake messages a second, and at once, until this end is under load. Each takes some 270 us.
HANDSHAKE_RATE: Final = 400.0
HANDSHAKE_BURST: Final = 128.0

#: Seconds for which load lasts after the last message that was too many.
LOAD_TIME: Final = 1.0

#: Under load, handshake messages of one network that has proved its address: a second, and at once.
SOURCE_RATE: Final = 20.0
SOURCE_BURST: Final = 5.0

#: Networks whose handshakes are counted at one time; the one that has sent none for longest is evicted.
MAX_SOURCES: Final = 8192

#: Cookies that are sent a second, and at once.
COOKIE_RATE: Final = 2000.0
COOKIE_BURST: Final = 500.0

#: Cookie replies that are opened a second, and at once. A forged one costs some 65 us, and needs no MAC but an index.
COOKIE_TRY_RATE: Final = 100.0
COOKIE_TRY_BURST: Final = 20.0


class Load:
    """
    How many handshakes there are.
    """

    def __init__(self) -> None:
        self._handshakes = TokenBucket(HANDSHAKE_RATE, HANDSHAKE_BURST)
        self._cookies = TokenBucket(COOKIE_RATE, COOKIE_BURST)
        self._tries = TokenBucket(COOKIE_TRY_RATE, COOKIE_TRY_BURST)
        self._sources: Table[bytes, TokenBucket] = Table("handshake sources", MAX_SOURCES, Policy.LEAST_RECENT)
        self._until = float("-inf")

    def tables(self) -> list[TableState]:
        """
        How full the table of networks is.
        """
        return [self._sources.state]

    def isHeavy(self, now: float) -> bool:
        """
        Count a handshake message.

        @return: whether its sender has to prove its address before it costs more.
        """
        if not self._handshakes.take(now):
            self._until = now + LOAD_TIME
        return now < self._until

    def mayServe(self, network: bytes, now: float) -> bool:
        """
        Whether a network that has proved its address may have one more handshake under load.
        """
        bucket = self._sources.use(network)
        if bucket is None:
            bucket = TokenBucket(SOURCE_RATE, SOURCE_BURST)
            self._sources.put(network, bucket)
        return bucket.take(now)

    def mayReply(self, now: float) -> bool:
        """
        Whether one more cookie may be sent.
        """
        return self._cookies.take(now)

    def mayTry(self, now: float) -> bool:
        """
        Whether one more cookie that has come may be opened.
        """
        return self._tries.take(now)
