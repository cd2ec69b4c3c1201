"""
The subcommand C{monitor}, which prints each event of the network interfaces as it happens.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import sys
from collections.abc import Callable
from typing import Any, TextIO

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.main import CONNECTION_LOST
from twisted.internet.task import react
from twisted.python.failure import Failure
from zope.interface import implementer

from txtuntap.command.interfaces import stateRecord
from txtuntap.device import printable
from txtuntap.device.monitor import InterfaceEvent, InterfaceMonitor
from txtuntap.output import hasNoReader
from txtuntap.wire.address import linkAddressText

#: The seconds within which a signal that has ended the reader of the output arrives here, too.
_SIGNAL_DELAY = 0.1


def monitor(options: Any, out: TextIO) -> None:
    """
    Print one line for each event of an interface, until a signal ends the program or the reader of a pipe closes it.

    @raise OSError: the interfaces cannot be monitored, or a line cannot be written.
    """

    def printEvent(event: InterfaceEvent) -> None:
        address = None if event.address is None else str(event.address)
        if options.json:
            fields = {"event": event.kind, "address": address, "interface": stateRecord(event.state)}
            printLine(json.dumps(fields))
            return
        now: dict[str, Any] = {
            "MTU": event.state.mtu,
            "link address": event.state.linkAddress,
            "renamed": event.before and f"from {printable(event.before.name)}",
        }
        detail = address or now.get(event.kind)
        text = linkAddressText(detail) if isinstance(detail, bytes) else str(detail or "")
        printLine(f"{printable(event.name):15}  {event.kind:15}  {text}".rstrip())

    def printLine(line: str) -> None:
        try:
            print(line, file=out, flush=True)
        except OSError as e:
            end(e)

    def end(error: OSError) -> None:
        if not ended.called:
            ended.errback(error)

    async def main(reactor: Any) -> None:
        interfaceMonitor = InterfaceMonitor(reactor, options.netns)
        interfaceMonitor.subscribe(printEvent)
        try:
            await interfaceMonitor.start()
            if _isPipe(out):
                # Ctrl-C ends the reader, too. The signal has to be the only cause to stop the reactor then.
                closed = BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
                reactor.addReader(_Pipe(out, lambda: reactor.callLater(_SIGNAL_DELAY, end, closed)))
            await ended
        except OSError as e:
            errors.append(e)

    ended: Deferred[None] = Deferred()
    errors: list[OSError] = []
    try:
        react(main)
    except SystemExit:
        if not errors:
            raise
    raise errors[0]


def _isPipe(out: TextIO) -> bool:
    """
    Whether a stream is a pipe on which a reactor can wait. Its writer never has anything to read from it.
    """
    if sys.platform == "win32":
        return False
    try:
        return stat.S_ISFIFO(os.fstat(out.fileno()).st_mode)
    except (OSError, ValueError):
        return False


@implementer(IReadDescriptor)
class _Pipe:
    """
    The writing end of a pipe, on which a reactor reports an event when the reader has closed the pipe.
    """

    def __init__(self, out: TextIO, closed: Callable[[], None]) -> None:
        self._out = out
        self._closed = closed

    def fileno(self) -> int:
        return self._out.fileno()

    def doRead(self) -> Failure | None:
        """
        Ask for the end of reading if the reader has closed the pipe: the reactor of C{select} reports that as data.
        """
        return Failure(CONNECTION_LOST) if hasNoReader(self._out) else None

    def connectionLost(self, reason: Failure) -> None:
        self._closed()

    def logPrefix(self) -> str:
        return "output"
