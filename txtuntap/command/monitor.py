"""
The subcommand C{monitor}, which prints each event of the network interfaces as it happens.
"""

from __future__ import annotations

import json
from typing import Any, TextIO

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from txtuntap.command.interfaces import stateRecord
from txtuntap.device import printable
from txtuntap.device.monitor import InterfaceEvent, InterfaceMonitor
from txtuntap.wire.address import linkAddressText


def monitor(options: Any, out: TextIO) -> None:
    """
    Print one line for each event of an interface, until a signal ends the program.

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
            if not ended.called:
                ended.errback(e)

    async def main(reactor: Any) -> None:
        interfaceMonitor = InterfaceMonitor(reactor, options.netns)
        interfaceMonitor.subscribe(printEvent)
        try:
            await interfaceMonitor.start()
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
