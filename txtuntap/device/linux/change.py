"""
One change of an interface: how it is made, and how it is restored.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
from zope.interface import implementer

from txtuntap.device.interfaces import IChange
from txtuntap.device.linux.netlink import Conversation, Request

#: A question for the kernel by rtnetlink, or a call that raises C{OSError}.
Step = Request | Callable[[], object]


@implementer(IChange)
@attrs.frozen
class Change:
    """
    One change of an interface.

    @ivar what: the change in words, as one would ask for it.
    @ivar make: the step that makes it.
    @ivar restore: the steps that restore what was before.
    @ivar isThere: where the kernel says that the thing exists already, a conversation that finds out whether it is as
        asked.
    @ivar advice: what may be wrong where the kernel says that it is not permitted.
    @ivar hardens: whether packets were believed before, and are not after.
    """

    what: str
    make: Step
    restore: tuple[Step, ...]
    isThere: Callable[[], Conversation[bool]] | None = None
    advice: str = ""
    hardens: bool = False
