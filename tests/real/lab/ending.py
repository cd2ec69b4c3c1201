"""
The end of a C{twistd tuntap host} in a process of its own.
"""

from __future__ import annotations

import signal
from collections.abc import Set

from tests.real.lab.host import Host
from tests.real.lab.namespace import interfaces


def endOrderly(host: Host, left: Set[str] = frozenset()) -> None:
    """
    Send SIGTERM to a host. It ends without a traceback, and leaves neither a pid file nor an interface.

    @param left: the names of the interfaces that stay all the same.
    """
    host.terminate()
    # twistd ends by the signal that ended it, once it has cleaned up.
    assert host.process.returncode == -signal.SIGTERM
    assert interfaces() == left
    assert not host.pidfile.exists()
    assert "Traceback" not in host.log()
