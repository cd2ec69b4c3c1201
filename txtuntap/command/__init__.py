"""
The C{txtuntap} command makes, configures, shows, monitors and deletes TUN and TAP interfaces. It also captures their
packets, and shows the TCP connections of the hosts on them::

    txtuntap add tun0 --mode tun --user alice --address 10.0.0.1/24
    txtuntap list
    txtuntap monitor --json
    txtuntap capture tap0 | wireshark -k -i -
    txtuntap connections tap0 --all
    txtuntap wireguard show wg0
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, TextIO

from txtuntap.command.parser import commandParser
from txtuntap.device import printable
from txtuntap.output import endingSilently


def main(arguments: Sequence[str] | None = None, out: TextIO | None = None) -> int:
    """
    Parse a command line and run its subcommand. An error is printed on standard error. If the reader of the output has
    closed it, as C{"| head"} does, the rest is discarded.

    @param arguments: the arguments after the program's name; by default, those of this process.
    @param out: the stream that the subcommand prints to; C{None}: standard output.

    @return: the exit status: 0, or 1 after an error.

    @raise SystemExit: the arguments are wrong or ask for help, or the reader of the output has closed it.
    """
    # Standard output is None, too, if this process was started without one.
    printed: Any = sys.stdout if out is None else out
    try:
        with endingSilently(printed):
            options = commandParser().parse_args(arguments)
            options.do(options, printed)
    except (OSError, ValueError, ImportError) as e:
        said = str(getattr(e, "strerror", None) or e)
        file = getattr(e, "filename", None)
        print(f"txtuntap: {printable(said if file is None else f'{file}: {said}')}", file=sys.stderr)
        return 1
    return 0
