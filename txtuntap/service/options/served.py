"""
The objects that a host serves on UDP and TCP ports, as the values C{PORT=WHAT} of options.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.protocol import Factory, Protocol
from twisted.python.reflect import namedAny
from twisted.python.usage import UsageError

from txtuntap.service.options.service import naming


def parseService(option: str, service: str, others: Sequence[tuple[int, str]]) -> tuple[int, str]:
    """
    Parse the value C{PORT=WHAT} of an option.

    @param option: C{"--udp"} or C{"--tcp"}.
    @param service: the value.
    @param others: the services that were parsed before.

    @return: the port, and the name of the served object.

    @raise UsageError: the port is missing, invalid or taken, or the name is missing.
    """
    port, equals, what = service.partition("=")
    if not equals or not what:
        raise UsageError(f"{option} takes PORT=WHAT, such as 7=echo, not {service!r}")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise UsageError(f"{option}: a port is a number from 1 to 65535, not {port!r}")
    if any(int(port) == other for other, _ in others):
        raise UsageError(f"{option}: port {port} is given twice")
    return int(port), what


def makeServices(
    option: str,
    services: Sequence[tuple[int, str]],
    known: Mapping[str, object],
    isOne: Callable[[object], bool],
    kind: str,
) -> list[tuple[int, Any]]:
    """
    Make the object that is served on each port.

    @param known: the objects with short names. All other names are dotted.
    @param isOne: tells whether an object can be served. An object that cannot be is called, and must return one that
        can.
    @param kind: a description of an object that can be served.

    @raise UsageError: a name is unknown, or it does not lead to such an object.
    """
    made = []
    for port, what in services:
        with naming(f"{option} {port}={what}"):
            found = known.get(what) or _importObject(what)
            if isinstance(found, type) and issubclass(found, Protocol):
                found = Factory.forProtocol(found)
            elif not isOne(found):
                if not callable(found):
                    raise UsageError(f"{what!r} is not {kind}, nor a function that makes one")
                try:
                    found = found()
                except Exception as e:
                    raise UsageError(f"the call to make {kind} failed: {e!r}") from e
            if not isOne(found):
                raise UsageError(f"the call made a {type(found).__name__}, not {kind}")
        made.append((port, found))
    return made


def _importObject(name: str) -> object:
    """
    Import the object of a dotted name. As with C{python -m}, its module is searched for in the working directory, then
    on C{PYTHONPATH}, and then among the installed modules.

    @raise UsageError: the object cannot be imported.
    """
    directory = os.getcwd()
    if directory not in sys.path and "" not in sys.path:
        sys.path.insert(0, directory)
    try:
        return namedAny(name)
    except Exception as e:
        raise UsageError(f"{name!r} is not echo, not discard, and cannot be imported: {e}") from e
