"""
The options of the helper's command line.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from txtuntap.device.helper.device import PATH
from txtuntap.device.helper.permission import Rule
from txtuntap.device.linux.device import NODE


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """
    Parse a command line. A mistake in it ends the process, with a message that says what to give.

    @param arguments: the words after the command; L{None}: those of this process.
    """
    parser = argparse.ArgumentParser(
        prog="python -I -m txtuntap.device.helper",
        description="Open TUN and TAP devices for programs without privilege, and set their interfaces.",
    )
    parser.add_argument(
        "--allow",
        action="append",
        required=True,
        type=_rule,
        metavar="WHO:NAMES[:NETWORKS]",
        help="a user, or @group; patterns of interface names, with commas between; networks that addresses and routes"
        " may be in. As often as needed",
    )
    parser.add_argument(
        "--listen", default=f"unix:{PATH}:mode=666", help="where: a server endpoint of Twisted's (%(default)s)"
    )
    parser.add_argument(
        "--netns", help="the network namespace of the interfaces (takes CAP_SYS_ADMIN); by default, this one"
    )
    parser.add_argument("--node", default=os.fsdecode(NODE), help="the device node (%(default)s)")
    return parser.parse_args(arguments)


def _rule(text: str) -> Rule:
    try:
        return Rule.of(text)
    except ValueError as e:
        raise argparse.ArgumentTypeError(str(e)) from e
