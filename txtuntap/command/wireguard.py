"""
The subcommand C{wireguard}: keys, as C{wg genkey}, C{wg pubkey} and C{wg genpsk} make them::

    txtuntap wireguard genkey > private.key
    txtuntap wireguard pubkey < private.key
"""

from __future__ import annotations

import os
import stat
import sys
from typing import Any, TextIO

from txtuntap.wire.wireguard import KEY_LENGTH
from txtuntap.wireguard.keys import PrivateKey, keyText


def genkey(options: Any, out: TextIO) -> None:
    """
    Print a new private key.
    """
    _warn(out)
    print(keyText(PrivateKey.generate().secret()), file=out)


def genpsk(options: Any, out: TextIO) -> None:
    """
    Print a new preshared key.
    """
    _warn(out)
    print(keyText(os.urandom(KEY_LENGTH)), file=out)


def pubkey(options: Any, out: TextIO, given: TextIO = sys.stdin) -> None:
    """
    Print the public key of the private key on standard input.

    @raise ValueError: that is no key.
    """
    print(keyText(PrivateKey(given.read()).public), file=out)


def _warn(out: TextIO) -> None:
    """
    Warn where a secret is written into a file that every user may read.
    """
    try:
        mode = os.fstat(out.fileno()).st_mode
    except (OSError, ValueError):
        return
    # On Windows, the mode of a file says nothing about its users.
    if sys.platform != "win32" and stat.S_ISREG(mode) and mode & stat.S_IRWXO:
        print("txtuntap: every user may read that file: set 'umask 077' before", file=sys.stderr)
