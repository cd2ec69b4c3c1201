"""
Fetch a web page with a client that has an IP address of its own.

    $ python -m http.server &
    $ python examples/web_client.py [URL]

Run the second command as root. It makes tap0, with the client at 10.0.0.2. The server of the first command answers at
10.0.0.1, the kernel's end. The server and then the client print:

    10.0.0.2 - - [29/Nov/2026 11:16:20] "GET / HTTP/1.1" 200 -
    http://kernel.example:8000/: 200 OK, 1845 octets

The client looks the name up in a table of its own, and does not use the machine's resolver.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.web.client import Agent, readBody

from txtuntap import Host, TuntapPort
from txtuntap.device.configure import configureInterface


async def ask(reactor: Any, url: str) -> None:
    """
    Put a host on a tap, and fetch a page with an C{Agent} that has the host as its reactor.
    """
    host = Host(["10.0.0.2/24", "fd00::2/64"], reactor, hosts={"kernel.example": "10.0.0.1"})
    port = TuntapPort("tap0", host.ethernet, reactor=reactor)
    port.startListening()
    configureInterface("tap0", ["10.0.0.1/24", "fd00::1/64"])
    # readBody warns about a transport of Twisted itself: https://github.com/twisted/twisted/issues/8227
    warnings.filterwarnings("ignore", "Using readBody")
    response: Any = await Agent(host, connectTimeout=10).request(b"GET", url.encode())
    body = await readBody(response)
    print(f"{url}: {response.code} {response.phrase.decode()}, {len(body)} octets")
    await port.stopListening()


def main(reactor: Any, url: str = "http://kernel.example:8000/") -> Deferred[None]:
    """
    Fetch one page, then end.
    """
    return Deferred.fromCoroutine(ask(reactor, url))


if __name__ == "__main__":
    react(main, sys.argv[1:])
