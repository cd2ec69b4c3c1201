"""
Run a web server at an address of its own, for any browser on this machine.

    python examples/web_server.py [DIRECTORY]

Run it as root. The program makes tap0, with the server at 10.0.0.2 and fd00::2, and gives the kernel's end its
addresses. The server serves the files in DIRECTORY, by default those in the directory of this file. The program prints
the URLs to open:

    ready: http://10.0.0.2/ http://[fd00::2]/
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.web.server import Site
from twisted.web.static import File

from txtuntap import Host, TuntapPort
from txtuntap.device.configure import configureInterface


def main(reactor: Any, directory: str = str(Path(__file__).parent)) -> Deferred[None]:
    """
    Put a host on a tap, and the site on the host as on a reactor.
    """
    if not Path(directory).is_dir():
        sys.exit(f"there is no directory {directory}")
    # A browser shows text, but downloads a file whose type it does not know.
    File.contentTypes[".py"] = "text/plain; charset=utf-8"
    host = Host(["10.0.0.2/24", "fd00::2/64"], reactor)
    host.listenTCP(80, Site(File(directory)))
    TuntapPort("tap0", host.ethernet, reactor=reactor).startListening()
    configureInterface("tap0", ["10.0.0.1/24", "fd00::1/64"])
    print("ready: http://10.0.0.2/ http://[fd00::2]/", flush=True)
    return Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])
