"""
Tests for the texts that say what to do, L{txtuntap.device.advice}.
"""

from __future__ import annotations

import errno
import os

from twisted.trial.unittest import SynchronousTestCase

from txtuntap.device.advice import advising, explained

ADVICE = {errno.EPERM: "run as root"}


class AdviceTests(SynchronousTestCase):
    def test_theAdviceReplacesTheTextOfTheSystem(self) -> None:
        error = explained(OSError(errno.EPERM, "Operation not permitted"), "tun0", ADVICE)
        self.assertEqual(str(error), f"[Errno {errno.EPERM}] tun0: run as root")
        self.assertIsInstance(error, PermissionError)

    def test_anErrorWithoutAdviceKeepsItsText(self) -> None:
        for given, text in (OSError(errno.ENOMEM, "no more"), "no more"), (OSError(errno.ENOMEM), None):
            error = explained(given, "tun0", ADVICE)
            self.assertEqual(
                (error.errno, error.strerror), (given.errno, f"tun0: {text or os.strerror(given.errno or 0)}")
            )

    def test_errorsWithinTheContextAreExplained(self) -> None:
        with self.assertRaises(PermissionError) as raised, advising("tun0", ADVICE):
            raise OSError(errno.EPERM, "Operation not permitted")
        self.assertEqual(raised.exception.strerror, "tun0: run as root")
        self.assertEqual(getattr(raised.exception.__cause__, "strerror", None), "Operation not permitted")

    def test_otherExceptionsPass(self) -> None:
        with self.assertRaises(ValueError), advising("tun0", ADVICE):
            raise ValueError
