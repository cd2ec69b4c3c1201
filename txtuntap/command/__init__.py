"""
The C{txtuntap} command: TUN and TAP interfaces made, configured, shown and watched, what passes them captured, and the
TCP connections of hosts on them shown.

    txtuntap add tun0 --mode tun --user alice --address 10.0.0.1/24
    txtuntap list
    txtuntap monitor --json
    txtuntap capture tap0 | wireshark -k -i -
    txtuntap connections tap0 --all
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TextIO

from txtuntap.command.parser import commandParser
from txtuntap.device import printable


def main(arguments: Sequence[str] | None = None, out: TextIO = sys.stdout) -> int:
    """
    Do what a command line asks for.

    @return: the exit status.
    """
    try:
        options = commandParser().parse_args(arguments)
        options.do(options, out)
    except (OSError, ValueError) as e:
        print(f"txtuntap: {printable(getattr(e, 'strerror', None) or str(e))}", file=sys.stderr)
        return 1
    return 0
