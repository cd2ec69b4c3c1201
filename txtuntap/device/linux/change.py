"""
The record of one change of an interface: the step that makes it, and the steps that undo it.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
from zope.interface import implementer

from txtuntap.device.interfaces import IChange
from txtuntap.device.linux.netlink import Conversation, Request

#: A request to the kernel through rtnetlink, or a function that raises C{OSError} if it fails.
Step = Request | Callable[[], object]


@implementer(IChange)
@attrs.frozen
class Change:
    """
    One change of an interface, and the way to undo it.

    @ivar what: the change in words, in the imperative: C{"set tun0 up"}.
    @ivar make: the step that makes the change.
    @ivar restore: the steps that undo the change.
    @ivar isThere: a function that makes a conversation. If the kernel answers that the object exists already, the
        conversation finds out whether that object equals the requested one. C{None}: no object
        that exists equals the requested one.
    @ivar advice: text that is appended to the error if the kernel does not permit the change.
    @ivar hardens: whether the change keeps packets from changing the kernel's configuration.
    """

    what: str
    make: Step
    restore: tuple[Step, ...]
    isThere: Callable[[], Conversation[bool]] | None = None
    advice: str = ""
    hardens: bool = False
