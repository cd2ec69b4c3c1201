"""
The subcommand C{connections}, which shows the TCP connections of the host that a service runs on an interface::

    txtuntap connections tap0
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice
from typing import Any, TextIO

from txtuntap.command.service import OtherInterfaceError, ask, connectTo, records
from txtuntap.device import printable
from txtuntap.device.controlname import namespaceNumber
from txtuntap.tcp.record import details, endText, queues

#: The states of RFC 9293 for which C{ss} has another word.
_STATES = {"ESTABLISHED": "ESTAB", "SYN-RECEIVED": "SYN-RECV", "CLOSED": "UNCONN"}

#: The titles of the columns. An address and its port are two columns, with a colon between them.
_HEADER = "State", "Recv-Q", "Send-Q", "Local Address", "Port", "Peer Address", "Port"

#: The separator behind each column. A column before a colon is aligned to the right.
_SEPARATORS = " ", " ", " ", ":", " ", ":", ""

#: The number of connections whose columns are aligned together. A later group of rows can have wider columns.
_AT_ONCE = 1000


def connections(options: Any, out: TextIO) -> None:
    """
    Print the connections or the listening ports, as text or as JSON.

    @raise OSError: no service of this user has the interface open, or the service does not answer.
    """
    settings = {"connected": not options.listening, "listening": options.listening or options.all}
    found = _records(options.name, options.netns, settings)
    if options.json:
        _printJSON(found, out)
    else:
        _print(found, out)


def _records(name: str, namespace: str | None, settings: dict[str, bool]) -> Iterator[dict[str, Any]]:
    """
    Ask the service for the records of its connections, and yield them one by one.

    @param settings: the kinds of records, as the control socket takes them: C{connected} and C{listening}.

    @raise OSError: there is no service, it refuses, or its answer is incomplete.
    """
    number = namespaceNumber(namespace)
    connection = connectTo(name, number)
    if connection is None:
        raise _noServiceError(name, namespace)
    with closing(connection):
        try:
            rest = ask(connection, name, number, {"connections": settings})
        except OtherInterfaceError:
            text = (
                f"{name} was renamed, moved or replaced: send SIGUSR2 to its service, which then logs its connections"
            )
            raise OSError(errno.ENODEV, text) from None
        yield from records(connection, rest, name)


def _noServiceError(name: str, namespace: str | None) -> OSError:
    """
    Return the error that says why there is no service to ask.
    """
    # This import is slow, and only needed here.
    from txtuntap.device.state import readInterface

    try:
        kind = readInterface(name, namespace).kind
    except OSError as e:
        return e
    if kind not in ("tun", "tap"):
        text = f"{name} is no TUN or TAP device: 'ss -ti' shows the connections of the kernel"
    else:
        text = f"no service of this user's holds {name}: run 'twistd tuntap host' there, without --no-control"
    return OSError(errno.ENOENT, text)


def _printJSON(records: Iterator[dict[str, Any]], out: TextIO) -> None:
    """
    Print the records as one JSON array, each one as soon as it arrives.
    """
    # Wait for the first record, so that nothing is printed before an error of the service.
    first = next(records, None)
    out.write("[")
    if first is not None:
        out.write(json.dumps(first))
    for record in records:
        out.write(",\n" + json.dumps(record))
    out.write("]\n")


def _print(records: Iterator[dict[str, Any]], out: TextIO) -> None:
    """
    Print a table with one row for each record, and the details of the record in a second line.
    """
    widths = [0] * len(_HEADER)
    rows: list[tuple[tuple[str, ...], str]] = [(_HEADER, "")]
    while rows := [*rows, *((_row(record), details(record)) for record in islice(records, _AT_ONCE))]:
        for cells, _ in rows:
            widths = [max(width, len(cell)) for width, cell in zip(widths, cells, strict=True)]
        for cells, more in rows:
            print(printable(_aligned(cells, widths).rstrip()), file=out)
            if more:
                print(f"\t {printable(more)}", file=out)
        rows = []


def _row(record: dict[str, Any]) -> tuple[str, ...]:
    toRead, toSend = queues(record)
    peer = ("*", "*") if "peer" not in record else endText(record["peer"])
    state = _STATES.get(record["state"], record["state"])
    return state, str(toRead), str(toSend), *endText(record["host"]), *peer


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    columns = zip(cells, widths, _SEPARATORS, strict=True)
    return "".join((cell.rjust if behind == ":" else cell.ljust)(width) + behind for cell, width, behind in columns)
