"""
The list of a host's TCP connections for a client of the control socket: see L{txtuntap.service.observe.control}.
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

#: The most records that are written in one reactor turn. Making them takes one or two milliseconds.
AT_ONCE = 50


class ListingClient(Protocol):
    """
    The client that the records are written to.
    """

    def writeRecords(self, octets: bytes) -> None:
        """
        Write octets to the client. C{resumeProducing} of the listing is called once they have been sent.
        """

    def finish(self) -> None:
        """
        Close the connection after the last record.
        """


@implementer(IPullProducer)
class Listing:
    """
    A producer of records as lines of JSON. The last line is C{{"end": 3}}, with the number of records.

    Records are made only once the client has read the previous ones, so that a long list neither blocks the reactor nor
    occupies much memory. An object that ends in the meantime may be missing.
    """

    def __init__(self, client: ListingClient, records: Iterator[object]) -> None:
        """
        @param client: the client to write the records to.
        @param records: the records, as JSON has them.
        """
        self._client = client
        self._count = 0
        self._records = records

    def resumeProducing(self) -> None:
        """
        Write the next records, because the previous ones have been sent.
        """
        lines = [json.dumps(record) for record in islice(self._records, AT_ONCE)]
        self._count += len(lines)
        isEnd = len(lines) < AT_ONCE
        if isEnd:
            lines.append(json.dumps({"end": self._count}))
        self._client.writeRecords("".join(f"{line}\n" for line in lines).encode())
        if isEnd:
            self._client.finish()

    def stopProducing(self) -> None:
        """
        Write no more records, because the client has disconnected.
        """
        self._records = iter(())


class ConnectionListing(Listing):
    """
    A producer of the records of a host's connections: see L{Listing}.
    """

    def __init__(self, client: ListingClient, host: Host, connected: bool = True, listening: bool = False) -> None:
        """
        @param client: the client to write the records to.
        @param host: the host whose connections are listed.
        @param connected: whether to list the connections.
        @param listening: whether to list the ports that listen.

        @raise ValueError: C{connected} or C{listening} is not a bool.
        """
        checkFlag(connected, "connected")
        checkFlag(listening, "listening")
        records: Iterator[ConnectionRecord | PortRecord] = chain(
            host.listening if listening else (), host.eachConnection() if connected else ()
        )
        super().__init__(client, map(plain, records))
