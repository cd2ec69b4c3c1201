"""
A program with a live page: a host on a tap, behind a capture and an impairment. It prints the address of the page. Its
arguments are the names by which browsers reach the page.
"""

from __future__ import annotations

import signal
import sys
from typing import Any, cast

from txtuntap import Host, TuntapPort
from txtuntap.device.configure import configureInterface
from txtuntap.middleware import Capture, Impairment
from txtuntap.udp.echo import Echo

#: The name of the interface on the page, as a stranger could choose it.
NAME = "<img src=x onerror=\"document.title='broken'\">"


def main() -> int:
    """
    Run the program until SIGTERM.
    """
    from twisted.internet import reactor

    from txtuntap.service import LivePage

    running = cast(Any, reactor)
    host = Host(["10.0.0.2/24"], running)
    host.listenUDP(7, Echo())
    port = TuntapPort("tap0", Capture(None, Impairment(host.ethernet)), reactor=running)
    port.startListening()
    configureInterface("tap0", addresses=["10.0.0.1/24"])
    page = LivePage("tcp:8080:interface=127.0.0.1", running, control=True, hosts=sys.argv[1:])
    page.add("tap0", port=port, host=host)
    page.add(NAME, host=host)
    page.startService()
    signal.signal(signal.SIGTERM, lambda *_: running.callFromThread(running.stop))
    print(page.url, flush=True)
    running.run()
    return 0
