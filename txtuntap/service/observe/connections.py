"""
The TCP connections of a host, listed for a client of the control socket: L{txtuntap.service.observe.control}.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, Protocol

from twisted.internet.interfaces import IPullProducer
from zope.interface import implementer

from txtuntap.mistakes import checkFlag
from txtuntap.tcp.record import ConnectionRecord, PortRecord, plain

if TYPE_CHECKING:
    from txtuntap.stack.host import Host

#: The records that are written at once. They take a millisecond or two; the reactor has its turn before the next ones.
AT_ONCE = 50


class ListingClient(Protocol):
    """
    A client that reads the records.
    """

    def listed(self, octets: bytes) -> None:
        """
        Take records. They are followed by others once they have been sent.
        """

    def finish(self) -> None:
        """
        Take the end of the records.
        """


@implementer(IPullProducer)
class ConnectionListing:
    """
    The records of a host's connections as lines of JSON, and then a line C{{"end": 3}} with their number.

    They are made when the client has read those before, so that neither the reactor nor the memory has to do with all
    of them at once. A connection that ends meanwhile may be missing.
    """

    def __init__(self, client: ListingClient, host: Host, connected: bool = True, listening: bool = False) -> None:
        """
        @param connected: whether to list connections; C{listening}: whether to list the ports that listen.

        @raise ValueError: one of them is no flag.
        """
        checkFlag(connected, "connected")
        checkFlag(listening, "listening")
        self._client = client
        self._count = 0
        self._records: Iterator[ConnectionRecord | PortRecord] = chain(
            host.listening if listening else (), host.eachConnection() if connected else ()
        )

    def resumeProducing(self) -> None:
        """
        All that was written has been sent.
        """
        lines = [json.dumps(plain(record)) for record in islice(self._records, AT_ONCE)]
        self._count += len(lines)
        isEnd = len(lines) < AT_ONCE
        if isEnd:
            lines.append(json.dumps({"end": self._count}))
        self._client.listed("".join(f"{line}\n" for line in lines).encode())
        if isEnd:
            self._client.finish()

    def stopProducing(self) -> None:
        """
        The client has gone.
        """
        self._records = iter(())
