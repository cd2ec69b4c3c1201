"""
Policy rules for a default route that the packets of one program must not use (C{ip-rule(8)}).

A tunnel's own packets would loop if they used the default route through the tunnel. So that route is in a table of its
own. The first rule looks every packet up in that table, except those with a mark, which the tunnel gives to its own.
The second rule comes before the first: it looks packets up in the main table, but ignores default routes there. So
networks for which the main table has a route of their own stay reachable::

    ip rule add not fwmark 51820 table 51820
    ip rule add table main suppress_prefixlength 0
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence
from contextlib import suppress

import attrs

from txtuntap.device.linux.netlink import (
    NLM_F_CREATE,
    NLM_F_ECHO,
    NLM_F_EXCL,
    Conversation,
    Request,
    delete,
    dump,
    new,
)
from txtuntap.device.linux.state import attributes
from txtuntap.device.settings import MAIN_TABLE

#: C{linux/fib_rules.h}: C{FR_ACT_TO_TBL}, C{FIB_RULE_INVERT}.
_TO_TABLE, _INVERT = 1, 0x02

#: The address family of each IP version.
_FAMILY = {4: 2, 6: 10}

#: The setting by which the reverse path filter looks up the route to a source with the packet's mark. Without it, a
#: strict filter drops the answers to marked packets.
SOURCE_MARK = "/proc/sys/net/ipv4/conf/all/src_valid_mark"


@attrs.frozen
class PolicyRules:
    """
    The rules that were added for one table, with which they can be removed.
    """

    _removals: tuple[Request, ...]
    _setsMark: bool

    def removing(self) -> Conversation[None]:
        """
        Make the conversation that removes the rules.

        The conversation also clears L{SOURCE_MARK} if it was not set before, unless other rules depend on it.

        @raise OSError: the kernel has refused that, or the file cannot be written.
        """
        error: OSError | None = None
        for each in self._removals:
            try:
                yield each
            except OSError as e:
                if e.errno != errno.ENOENT:
                    error = e
        if error is not None:
            raise error
        if self._setsMark:
            left = yield dump("rule", "read the policy rules", family=_FAMILY[4])
            if not any("FRA_FWMARK" in attributes(each) for each in left):
                _write("0")


def findingTable(first: int) -> Conversation[int]:
    """
    Make the conversation that finds the number of a routing table without routes.

    @param first: the least number that may be chosen.
    """
    while (yield from _findingRoute(first)):
        first += 1
    return first


def _findingRoute(table: int) -> Conversation[bool]:
    """
    Make the conversation that finds out whether a table has a route.
    """
    for family in _FAMILY.values():
        try:
            routes = yield dump("route", f"read the routes of table {table}", family=family, RTA_TABLE=table)
        except FileNotFoundError:
            continue
        # Before Linux 4.20, the kernel returns the routes of all tables.
        if any(attributes(each).get("RTA_TABLE") == table for each in routes):
            return True
    return False


def addingRules(table: int, versions: Iterable[int]) -> Conversation[PolicyRules]:
    """
    Make the conversation that adds the rules for a default route in a table. If a rule cannot be added, the earlier
    ones are removed.

    @param table: the number of the table, which is the mark of the packets that do not use it, too.
    @param versions: the IP versions that have such a route: 4, 6 or both.

    @raise OSError: the kernel has refused a rule, or L{SOURCE_MARK} cannot be set.
    """
    removals: list[Request] = []
    setsMark = False
    try:
        for version in versions:
            for what, fields in (
                (f"look packets without the mark {table} up in table {table}", _unmarked(table)),
                ("ignore default routes of the main table", _withoutDefault()),
            ):
                fields = {"family": _FAMILY[version], "action": _TO_TABLE, **fields}
                how = NLM_F_CREATE | NLM_F_EXCL | NLM_F_ECHO
                made = yield new("rule", f"add the policy rule: {what}", how, **fields)
                # The kernel chooses the priority. Another program may have an equal rule with another priority, so a
                # rule is removed with the one that it was given.
                priority = _priority(made)
                removals.insert(0, delete("rule", f"remove the policy rule: {what}", **fields, **priority))
            if version == 4:
                setsMark = _setSourceMark()
    except (Exception, KeyboardInterrupt):
        with suppress(OSError):
            yield from PolicyRules(tuple(removals), setsMark).removing()
        raise
    return PolicyRules(tuple(removals), setsMark)


def _unmarked(table: int) -> dict[str, int]:
    return {"flags": _INVERT, "FRA_FWMARK": table, "FRA_TABLE": table}


def _withoutDefault() -> dict[str, int]:
    return {"FRA_TABLE": MAIN_TABLE, "FRA_SUPPRESS_PREFIXLEN": 0}


def _priority(made: Sequence[object]) -> dict[str, int]:
    """
    Return the attribute with the priority that the kernel has chosen for a rule; empty if it has not told it.
    """
    for message in made:
        priority = attributes(message).get("FRA_PRIORITY")  # type: ignore[arg-type]
        if priority is not None:
            return {"FRA_PRIORITY": priority}
    return {}


def _setSourceMark() -> bool:
    """
    Set L{SOURCE_MARK} to 1.

    @return: whether it was not set before.
    """
    with open(SOURCE_MARK) as file:
        if file.read().strip() != "0":
            return False
    _write("1")
    return True


def _write(value: str) -> None:
    with open(SOURCE_MARK, "w") as file:
        file.write(value)
