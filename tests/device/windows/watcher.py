"""
A program that watches the interfaces of a fake on a running reactor: C{python -m tests.device.windows.watcher REACTOR}.
It prints the kind of each event, and whether the event came on the reactor's thread.
"""

from __future__ import annotations

import sys
import threading
from importlib import import_module
from typing import Any


def main(name: str) -> None:
    """
    Install a reactor, and change an interface of the fake while the reactor runs.
    """
    import_module(f"twisted.internet.{name}").install()
    from twisted.internet import reactor as installed

    from tests.device.windows.iphlpapifake import FakeIphlpapi
    from txtuntap.device.monitor import MTU, InterfaceEvent, InterfaceMonitor
    from txtuntap.device.windows import network

    reactor: Any = installed
    if sys.platform == "win32":
        from tests.device.windows.iphlpapidll import FakeDLL

        fake: Any = FakeDLL()
    else:
        fake = FakeIphlpapi()
        sys.platform = "win32"
    network.__dict__["load"] = lambda: fake
    from txtuntap.device.configure import configure
    from txtuntap.device.settings import InterfaceSettings

    fake.add("txtuntap 0", "tun")
    monitor, thread = InterfaceMonitor(reactor), threading.get_ident()

    def changed(event: InterfaceEvent) -> None:
        print(event.kind, threading.get_ident() == thread)
        if event.kind == MTU:
            monitor.stop()
            print(fake.registered())
            reactor.stop()

    def started(ignored: object) -> None:
        configure("txtuntap 0", InterfaceSettings(mtu=1400), None, reactor)

    monitor.subscribe(changed)
    reactor.callWhenRunning(lambda: monitor.start().addCallback(started))
    reactor.callLater(20, reactor.stop)
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[1])
