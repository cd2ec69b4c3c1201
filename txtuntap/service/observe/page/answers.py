"""
The answers of a live page: the short ones, and those that take long, which are the events and the downloads.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from txtuntap.layer.bounded import Policy, Table, TableState
from txtuntap.service.observe.page.guard import HEADERS, Refusal
from txtuntap.service.observe.page.history import Recorder

#: The most connections that wait for events.
MAX_WATCHING = 8

#: The readings that a slow client may miss one after another. The next one ends its connection.
MAX_MISSED = 10

#: The octets of each part of a long answer.
PART = 1 << 16


def answered(request: Any, body: bytes, mediaType: str) -> bytes:
    """
    Set the headers of an answer.

    @return: C{body}.
    """
    for name, value in HEADERS.items():
        request.setHeader(name, value)
    request.setHeader(b"Content-Type", mediaType.encode())
    return body


def asJSON(request: Any, value: object) -> bytes:
    """
    Answer a request with JSON.
    """
    return answered(request, json.dumps(value).encode(), "application/json")


def refused(request: Any, refusal: Refusal) -> bytes:
    """
    Answer a request that is refused.
    """
    request.setResponseCode(refusal.status, b"Misdirected Request" if refusal.status == 421 else None)
    return answered(request, f"{refusal.why}.\n".encode("utf-8", "backslashreplace"), "text/plain; charset=utf-8")


class Events:
    """
    The clients that receive each reading.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self.watchers: Table[Watcher, None] = Table("page watchers", MAX_WATCHING, Policy.REFUSE)
        self._number = 0
        recorder.read = self.read  # type: ignore[method-assign]

    def subscribe(self, request: Any) -> Any:
        """
        Send the events to a client until it disconnects.
        """
        if len(self.watchers) >= MAX_WATCHING:
            raise Refusal(503, f"{MAX_WATCHING} others watch already")
        answered(request, b"", "text/event-stream")
        # Some proxies collect an answer before they pass it on.
        request.setHeader(b"X-Accel-Buffering", b"no")
        watcher = Watcher(request)
        self.watchers.put(watcher, None)
        request.notifyFinish().addBoth(lambda _: self.watchers.pop(watcher, None))
        request.registerProducer(watcher, True)
        watcher.event(self._event(self._recorder.look()))
        return NOT_DONE_YET

    def read(self, latest: dict[str, Any]) -> None:
        """
        Send a reading to all clients.
        """
        if self.watchers:
            self._recorder.look()
            event = self._event(latest)
            for watcher in tuple(self.watchers):
                watcher.event(event)

    def stop(self) -> None:
        """
        End the answers to all clients.
        """
        for watcher in tuple(self.watchers):
            watcher.end()

    def tables(self) -> list[TableState]:
        """
        Return how many clients there are: see
        L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [self.watchers.state]

    def _event(self, latest: dict[str, Any]) -> bytes:
        self._number += 1
        return b"id: %d\nevent: reading\ndata: %b\n\n" % (self._number, json.dumps(latest).encode())


@implementer(IPushProducer)
class Watcher:
    """
    A client that receives events. Readings are left out while it reads too slowly.

    @ivar transport: the connection of the client.
    """

    def __init__(self, request: Any) -> None:
        self._request = request
        self.transport = request.channel.transport
        self._isPaused = False
        self._missed = 0

    def event(self, event: bytes) -> None:
        """
        Send an event, unless the client is slow. End the connection of a client that stays slow.
        """
        if not self._isPaused:
            self._missed = 0
            self._request.write(event)
            return
        self._missed += 1
        if self._missed > MAX_MISSED:
            # The connection would otherwise stay until this client has read what it does not read.
            self.transport.abortConnection()

    def end(self) -> None:
        """
        End the answer to this client.
        """
        self._request.unregisterProducer()
        self._request.finish()
        if self._isPaused:
            self.transport.abortConnection()

    def pauseProducing(self) -> None:
        """
        Leave out readings, because the client reads too slowly.
        """
        self._isPaused = True

    def resumeProducing(self) -> None:
        """
        Send readings to the client again.
        """
        self._isPaused = False

    def stopProducing(self) -> None:
        """
        Send nothing more to the client.
        """
        self._isPaused = True


@implementer(IPushProducer)
class Download:
    """
    A long answer, which is sent as fast as the client reads. Until then its connection is not idle, so that a slow
    client gets all of it.
    """

    def __init__(self, request: Any, octets: bytes) -> None:
        self._request = request
        self._octets = octets
        self._next = 0
        self._isPaused = True

    def begin(self) -> None:
        """
        Send the first part.
        """
        self._request.registerProducer(self, True)
        self.resumeProducing()

    def resumeProducing(self) -> None:
        """
        Send further parts until the connection is full.
        """
        self._isPaused = False
        while not self._isPaused:
            part = self._octets[self._next : self._next + PART]
            if not part:
                self._isPaused = True
                self._request.unregisterProducer()
                self._request.finish()
                return
            self._next += PART
            self._request.write(part)

    def pauseProducing(self) -> None:
        """
        Send nothing until the client has read.
        """
        self._isPaused = True

    def stopProducing(self) -> None:
        """
        Send nothing more, because the client has gone.
        """
        self._isPaused = True
