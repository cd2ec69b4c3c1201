"""
The check of how C{twistd tuntap host} ends in its own process.
"""

from __future__ import annotations

import signal
from collections.abc import Set

from tests.real.lab.host import Host
from tests.real.lab.namespace import interfaces


def endOrderly(host: Host, left: Set[str] = frozenset()) -> None:
    """
    Send SIGTERM to a host. Check that it ends without a traceback, and leaves neither a pid file nor an interface.

    @param left: the names of the interfaces that are expected to exist afterwards.
    """
    host.terminate()
    # After its clean-up, twistd kills itself with the same signal.
    assert host.process.returncode == -signal.SIGTERM
    assert interfaces() == left
    assert not host.pidfile.exists()
    assert "Traceback" not in host.log()
