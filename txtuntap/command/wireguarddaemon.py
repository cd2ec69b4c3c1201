"""
The program C{txtuntap-wireguard}: a WireGuard interface that C{wg-quick} starts in place of the kernel's::

    WG_QUICK_USERSPACE_IMPLEMENTATION=txtuntap-wireguard wg-quick up wg0
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from txtuntap.command.parser import shortUsage
from txtuntap.device.platform import requireUNIX
from txtuntap.output import endingSilently
from txtuntap.version import addVersion

#: The octet that the process in the background writes once the interface is ready.
_READY = b"\0"


def daemonParser() -> argparse.ArgumentParser:
    """
    Make the parser of the command line.
    """
    parser = argparse.ArgumentParser(
        prog="txtuntap-wireguard",
        description="Make a WireGuard interface that 'wg' and 'wg-quick' configure, and serve it in the background.",
    )
    addVersion(parser)
    parser.add_argument("name", help="the interface's name")
    parser.add_argument("-f", "--foreground", action="store_true", help="stay in the foreground, and log there")
    parser.usage = shortUsage(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Make the interface, and serve it in the background until it or its socket is deleted.

    @return: the exit status: 0 once the interface and its socket are there.
    """
    with endingSilently(sys.stdout):
        options = daemonParser().parse_args(arguments)
    try:
        requireUNIX("txtuntap-wireguard", "use 'twistd tuntap wireguard', since there is no wg-quick")
    except OSError as e:
        print(e.strerror, file=sys.stderr)
        return 1
    if options.foreground:
        return _run(options.name, None)
    reading, writing = os.pipe()
    # Before a reactor is imported: it must not be shared with the parent.
    if os.fork():
        os.close(writing)
        with open(reading, "rb") as file:
            said = file.read()
        if said != _READY:
            print(f"txtuntap-wireguard: {said.decode(errors='replace')}", file=sys.stderr)
        return 0 if said == _READY else 1
    os.close(reading)
    os.setsid()
    return _run(options.name, writing)


def _run(name: str, ready: int | None) -> int:
    """
    Serve the interface until the process ends.

    @param ready: the descriptor that the parent reads: one octet once the interface is ready, or else an error text;
        C{None}: this process is in the foreground.
    """
    try:
        service = _started(name, ready is None)
    except Exception as e:
        text = str(getattr(e, "strerror", None) or e) or type(e).__name__
        if ready is None:
            print(f"txtuntap-wireguard: {text}", file=sys.stderr)
        else:
            os.write(ready, text.encode())
        return 1
    from twisted.internet import reactor

    running: Any = reactor
    running.addSystemEventTrigger("before", "shutdown", service.stopService)
    if ready is not None:
        # A program that reads the output of this process would wait for its end.
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(null, descriptor)
        os.chdir("/")
        os.write(ready, _READY)
        os.close(ready)
    running.run()
    return 0


def _started(name: str, logs: bool) -> Any:
    """
    Make the interface and its socket, and start the service.
    """
    from twisted.logger import globalLogBeginner, textFileLogObserver

    from txtuntap.device import TUN
    from txtuntap.device.choice import makeDevice
    from txtuntap.device.settings import InterfaceSettings
    from txtuntap.service.options.interface import InterfaceServiceSettings
    from txtuntap.service.options.wireguard import DEFAULT_MTU, WireGuardServiceSettings
    from txtuntap.service.wireguard import WireGuardService
    from txtuntap.wireguard.configuration import Configuration

    observers = [textFileLogObserver(sys.stderr)] if logs else []
    globalLogBeginner.beginLoggingTo(observers, redirectStandardIO=False)
    interface = InterfaceServiceSettings(
        device=makeDevice(name, TUN), kernelEnd=InterfaceSettings(mtu=DEFAULT_MTU, up=None)
    )
    service = WireGuardService(WireGuardServiceSettings(interface=interface, configuration=Configuration()))
    service.privilegedStartService()
    service.startService()
    return service
