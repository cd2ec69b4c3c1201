"""
Tests for policy rules, and for routes in other tables, against the kernel.
"""

from __future__ import annotations

from pathlib import Path

from tests.real.lab.namespace import Namespace, ip
from txtuntap.device.linux.netlink import askNow
from txtuntap.device.linux.policy import SOURCE_MARK, addingRules, findingTable


def rules() -> list[str]:
    """
    Return the policy rules of both IP versions.
    """
    return [*ip("rule").splitlines(), *ip("-6", "rule").splitlines()]


def test_rulesAreAddedAndRemoved(namespace: Namespace) -> None:
    before = rules()
    added = askNow(addingRules(51820, [4, 6]))
    found = [line.partition("\t")[2].strip() for line in ip("rule").splitlines()]
    assert found[1:3] == ["from all lookup main suppress_prefixlength 0", "not from all fwmark 0xca6c lookup 51820"]
    assert len(rules()) == len(before) + 4
    assert Path(SOURCE_MARK).read_text() == "1\n"
    askNow(added.removing())
    assert rules() == before
    assert Path(SOURCE_MARK).read_text() == "0\n"


def test_eachServiceRemovesItsOwnRules(namespace: Namespace) -> None:
    first = askNow(addingRules(51820, [4]))
    second = askNow(addingRules(51821, [4]))
    askNow(first.removing())
    found = [line.partition("\t")[2].strip() for line in ip("rule").splitlines()]
    assert found[1:3] == ["from all lookup main suppress_prefixlength 0", "not from all fwmark 0xca6d lookup 51821"]
    assert Path(SOURCE_MARK).read_text() == "1\n"
    askNow(second.removing())


def test_aTableWithRoutesIsNotChosen(namespace: Namespace) -> None:
    assert askNow(findingTable(51820)) == 51820
    ip("route", "add", "10.0.0.0/8", "dev", "lo", "table", "51820")
    ip("-6", "route", "add", "fd00::/8", "dev", "lo", "table", "51821")
    assert askNow(findingTable(51820)) == 51822
