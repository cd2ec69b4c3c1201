"""
The answers of a live page: the short ones, and those that take long, which are the events and the downloads.
"""

from __future__ import annotations

import json
from collections.abc import Callable
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

#: The most downloads of captures at once.
MAX_DOWNLOADS = 4

#: The octets of each part of an answer. The next part is sent once the client has read.
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


@implementer(IPushProducer)
class Sending:
    """
    The body of an answer, which is sent in parts, as fast as the client reads.
    """

    def __init__(self, request: Any, octets: bytes | bytearray, ended: Callable[[], object] | None = None) -> None:
        """
        @param octets: the body. What is appended to it later is not sent.
        @param ended: called once all is sent, or the connection is lost.
        """
        self._request = request
        self._octets = octets
        self._length = len(octets)
        self._ended = ended
        self._next = 0
        self._isPaused = True

    def begin(self) -> None:
        """
        Send the header fields and the first part. The answer to C{HEAD} ends there.
        """
        self._request.setHeader(b"Content-Length", b"%d" % self._length)
        if self._request.method == b"HEAD":
            self._next = self._length
        self._request.notifyFinish().addErrback(lambda _: self._end())
        self._request.registerProducer(self, True)
        self.resumeProducing()

    def resumeProducing(self) -> None:
        """
        Send further parts until the connection is full.
        """
        self._isPaused = False
        while not self._isPaused:
            following = min(self._next + PART, self._length)
            part, self._next = bytes(self._octets[self._next : following]), following
            self._request.write(part)
            if following == self._length:
                self._request.unregisterProducer()
                # The next request begins before finish returns.
                self._end()
                self._request.finish()
                return

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

    def end(self) -> None:
        """
        End the answer before all is sent, together with its connection.
        """
        self._request.channel.transport.abortConnection()

    def _end(self) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            ended()


class Downloads:
    """
    The downloads of captures that are being sent.
    """

    def __init__(self) -> None:
        self.running: Table[Sending, None] = Table("page downloads", MAX_DOWNLOADS, Policy.REFUSE)

    def send(self, request: Any, octets: bytearray) -> Any:
        """
        Send a capture as it is now. It stays in memory until then, even if it is deleted.

        @raise Refusal: there are too many downloads.
        """
        if self.running.isFull:
            raise Refusal(503, f"{MAX_DOWNLOADS} downloads run already", "downloadsRefused")
        channel = request.channel

        def ended() -> None:
            self.running.pop(sending, None)
            channel.stream = None

        channel.stream = sending = Sending(request, octets, ended)
        self.running.put(sending, None)
        sending.begin()
        return NOT_DONE_YET

    def tables(self) -> list[TableState]:
        """
        Return how many downloads there are: see
        L{PacketProtocol.tables<txtuntap.layer.protocol.PacketProtocol.tables>}.
        """
        return [self.running.state]


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
        Send the events to a client until it disconnects. The answer to C{HEAD} has no body, so it ends at once.

        @raise Refusal: there are too many clients that watch.
        """
        if self.watchers.isFull:
            raise Refusal(503, f"{MAX_WATCHING} others watch already", "watchersRefused")
        answered(request, b"", "text/event-stream")
        # Some proxies collect an answer before they pass it on.
        request.setHeader(b"X-Accel-Buffering", b"no")
        if request.method == b"HEAD":
            request.finish()
            return NOT_DONE_YET
        channel = request.channel
        channel.stream = watcher = Watcher(request)
        self.watchers.put(watcher, None)

        def ended(_: object) -> None:
            self.watchers.pop(watcher, None)
            channel.stream = None

        request.notifyFinish().addBoth(ended)
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
    """

    def __init__(self, request: Any) -> None:
        self._request = request
        self._channel = request.channel
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
            self._channel.abandon()

    def end(self) -> None:
        """
        End the answer to this client, and its connection.
        """
        if self._isPaused:
            self._channel.transport.abortConnection()
            return
        self._request.unregisterProducer()
        self._request.finish()

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
