"""
The changes of a configuration, where a change is a call that the system answers at once: make them one after the other,
and undo them. macOS, the BSDs and Windows share this.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TypeVar

import attrs
from zope.interface import implementer

from txtuntap.device import printable
from txtuntap.device.interfaces import IChange
from txtuntap.device.pieces import Pieces

_T = TypeVar("_T")

#: The error numbers with which a system answers a request about an object that does not exist.
_GONE = {errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.ENXIO, errno.EADDRNOTAVAIL}

#: The error numbers of a change that the process has no privilege to make.
_NOT_PERMITTED = {errno.EPERM, errno.EACCES}


@implementer(IChange)
@attrs.frozen
class Change:
    """
    One change of an interface, and the way to undo it.

    @ivar what: the change in words, in the imperative: C{"set utun3 up"}.
    @ivar make: the call that makes the change.
    @ivar restore: the call that undoes the change.
    @ivar hardens: C{False}, because no change here keeps packets from changing the kernel's configuration.
    """

    what: str
    make: Callable[[], None]
    restore: Callable[[], None]
    hardens: bool = False


def called(call: Callable[[], _T], what: str) -> _T:
    """
    Make a call of the system. An error says what has failed.

    @param what: the call in words, in the imperative.
    """
    try:
        return call()
    except OSError as e:
        raise OSError(e.errno, f"cannot {printable(what)}: {e.strerror}") from e


def making(changes: Iterable[Change], advice: str) -> Pieces[tuple[Change, ...]]:
    """
    Make a conversation that makes changes, one in each turn of the reactor. If one change fails, or the conversation is
    cancelled, the changes before it are undone.

    @param advice: the text that is appended to the error of a change that the process has no privilege to make.

    @return: the conversation. Its result is the changes.
    """
    done: list[Change] = []
    try:
        for change in changes:
            try:
                called(change.make, change.what)
            except OSError as e:
                if e.errno in _NOT_PERMITTED:
                    raise OSError(e.errno, f"{e.strerror}: {advice}") from e
                raise
            done.append(change)
            yield None
        # This is the last point at which a cancellation undoes the changes.
        yield None
    except (Exception, KeyboardInterrupt):
        with suppress(OSError):
            yield from undoing(done)
        raise
    return tuple(done)


def undoing(changes: Sequence[Change]) -> Pieces[None]:
    """
    Make a conversation that undoes changes, the last change first. Objects that are gone by now are skipped.

    @raise OSError: some changes cannot be undone. The text names each of them. The others were undone.
    """
    errors: list[OSError] = []
    for change in reversed(changes):
        try:
            called(change.restore, f"undo this: {change.what}")
        except FileExistsError:
            # The kernel or another program has added the object again.
            continue
        except OSError as e:
            if e.errno not in _GONE:
                errors.append(e)
        yield None
    if errors:
        raise OSError(errors[0].errno, "; ".join(str(e.strerror) for e in errors))
