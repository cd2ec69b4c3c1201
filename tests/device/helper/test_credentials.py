"""
Tests for L{txtuntap.device.helper.credentials}, with the numbers of each platform's headers.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from typing import Any

import pytest
from twisted.trial.unittest import SynchronousTestCase

from tests.device.unix.constants import CONSTANTS
from txtuntap.device.helper.credentials import peerCredentials


class FakeSocket:
    """
    A connected UNIX socket of another platform. Options that the platform lacks are refused.

    @ivar answers: the value of each option, by its level and number.
    """

    def __init__(self, answers: dict[tuple[int, int], bytes]) -> None:
        self.answers = answers

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        if (level, option) not in self.answers:
            raise OSError(errno.ENOPROTOOPT, "Protocol not available")
        return self.answers[level, option][:size]


def laidOut(names: dict[str, int], name: str, fields: dict[str, bytes]) -> bytes:
    """
    Lay out a structure by the platform's table.

    @param fields: the octets of each field.
    """
    packed = bytearray(names[f"sizeof({name})"])
    for field, value in fields.items():
        at = names[f"{name}.{field}"]
        packed[at : at + len(value)] = value
    return bytes(packed)


def xucred(names: dict[str, int], **fields: bytes) -> bytes:
    """
    Lay out the credentials of user 501, in groups 20 and 12, as macOS and FreeBSD do.
    """
    known = {
        "cr_version": struct.pack("I", names["XUCRED_VERSION"]),
        "cr_uid": struct.pack("I", 501),
        "cr_ngroups": struct.pack("h", 2),
        "cr_groups": struct.pack("II", 20, 12),
    }
    return laidOut(names, "xucred", {**known, **fields})


class CredentialsTests(SynchronousTestCase):
    """
    Tests for the user at the other end of a UNIX socket, on each platform.
    """

    def ask(self, platform: str, answers: dict[tuple[int, int], bytes]) -> tuple[int, int, frozenset[int]]:
        self.patch(sys, "platform", platform)
        connection: Any = FakeSocket(answers)
        return peerCredentials(connection)

    @pytest.mark.linux
    def test_linuxReportsThisProcess(self) -> None:
        one, other = socket.socketpair(socket.AF_UNIX)
        with one, other:
            process, user, groups = peerCredentials(one)
        self.assertEqual((process, user), (os.getpid(), os.geteuid()))
        self.assertIn(os.getegid(), groups)

    def test_macOSReportsUserGroupsAndProcess(self) -> None:
        names = CONSTANTS["darwin"]
        answers = {(0, names["LOCAL_PEERCRED"]): xucred(names), (0, names["LOCAL_PEERPID"]): struct.pack("i", 77)}
        self.assertEqual(self.ask("darwin", answers), (77, 501, {20, 12}))

    def test_freeBSDReportsUserGroupsAndProcess(self) -> None:
        names = CONSTANTS["freebsd"]
        packed = xucred(names, cr_pid=struct.pack("i", 77))
        self.assertEqual(self.ask("freebsd14", {(0, names["LOCAL_PEERCRED"]): packed}), (77, 501, {20, 12}))

    def test_openBSDReportsUserGroupAndProcess(self) -> None:
        names = CONSTANTS["openbsd"]
        fields = {"uid": struct.pack("I", 501), "gid": struct.pack("I", 20), "pid": struct.pack("i", 77)}
        packed = laidOut(names, "sockpeercred", fields)
        answers = {(0xFFFF, names["SO_PEERCRED"]): packed}
        # The level differs between platforms, and Python has that of its own.
        self.patch(socket, "SOL_SOCKET", 0xFFFF)
        self.assertEqual(self.ask("openbsd7", answers), (77, 501, {20}))

    def test_netBSDReportsUserGroupAndProcess(self) -> None:
        names = CONSTANTS["netbsd"]
        fields = {"unp_euid": struct.pack("I", 501), "unp_egid": struct.pack("I", 20), "unp_pid": struct.pack("i", 77)}
        packed = laidOut(names, "unpcbid", fields)
        self.assertEqual(self.ask("netbsd10", {(0, names["LOCAL_PEEREID"]): packed}), (77, 501, {20}))

    def test_anAnswerOfAnotherFormIsNoUser(self) -> None:
        mac, net = CONSTANTS["darwin"], CONSTANTS["netbsd"]
        whole = xucred(mac)
        for platform, option, packed in (
            ("darwin", mac["LOCAL_PEERCRED"], whole[:9]),
            ("darwin", mac["LOCAL_PEERCRED"], whole[:16]),
            ("darwin", mac["LOCAL_PEERCRED"], xucred(mac, cr_version=struct.pack("I", 1))),
            (
                "darwin",
                mac["LOCAL_PEERCRED"],
                xucred(mac, cr_ngroups=struct.pack("h", CONSTANTS["freebsd"]["XU_NGROUPS"] + 1)),
            ),
            ("darwin", mac["LOCAL_PEERCRED"], xucred(mac, cr_ngroups=struct.pack("h", -1))),
            ("freebsd14", mac["LOCAL_PEERCRED"], whole),
            ("netbsd10", net["LOCAL_PEEREID"], bytes(8)),
        ):
            error = self.assertRaises(OSError, self.ask, platform, {(0, option): packed})
            self.assertEqual(error.errno, errno.EPROTO, (platform, packed))

    def test_aPlatformWithoutSuchAnOptionIsNamed(self) -> None:
        error = self.assertRaises(OSError, self.ask, "plan9", {})
        self.assertEqual(error.errno, errno.ENOTSUP)
        self.assertIn("plan9 does not report", str(error))
