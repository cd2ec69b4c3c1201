"""
A program that is given a host in place of the reactor runs as it did: shown on the suites of Twisted's protocols.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from .classic import Outcome, entryOf, runSuites

INTERNALS = "it uses what Twisted's own transports and ports have, and no interface does"
PROCESS = "its client is a process of its own with the TCP of the kernel, which cannot reach a host"
SOCKET = "it looks at the socket of a transport, and there is none"
TRANSLATED = "it takes the address that listens for the one that connects, and here these are two hosts"
VERSIONS = "a host that listens on '::' takes no connections of IPv4 there"

#: The tests that fail, and classes all of whose tests do; and why it must be so.
EXPECTED = {
    "conch.test.test_cftp.OurServerBatchFileTests.testBatchFile": PROCESS,
    "conch.test.test_cftp.OurServerBatchFileTests.testIgnoredError": PROCESS,
    "conch.test.test_cftp.OurServerCmdLineClientTests": PROCESS,
    "conch.test.test_cftp.OurServerSftpClientTests": PROCESS,
    "conch.test.test_conch.CmdLineClientTests.test_exec": PROCESS,
    "conch.test.test_conch.CmdLineClientTests.test_localToRemoteForwarding": PROCESS,
    "conch.test.test_conch.CmdLineClientTests.test_remoteToLocalForwarding": PROCESS,
    "conch.test.test_conch.CmdLineClientTests.test_runWithCompressionSpecified": PROCESS,
    "conch.test.test_conch.CmdLineClientTests.test_runWithLogFile": PROCESS,
    "conch.test.test_conch.CmdLineClientTests.test_runWithNoHostAlgorithmsSpecified": PROCESS,
    "conch.test.test_conch.OpenSSHClientForwardingTests": PROCESS,
    "conch.test.test_conch.OpenSSHClientRekeyTests": PROCESS,
    "conch.test.test_conch.OpenSSHKeyExchangeTests.test_CURVE25519_SHA256": PROCESS,
    "conch.test.test_conch.OpenSSHKeyExchangeTests.test_DH_GROUP14": PROCESS,
    "conch.test.test_conch.OpenSSHKeyExchangeTests.test_DH_GROUP_EXCHANGE_SHA1": PROCESS,
    "conch.test.test_conch.OpenSSHKeyExchangeTests.test_DH_GROUP_EXCHANGE_SHA256": PROCESS,
    "conch.test.test_conch.OpenSSHKeyExchangeTests.test_ECDHSHA256": PROCESS,
    "conch.test.test_conch.OpenSSHKeyExchangeTests.test_ECDHSHA384": PROCESS,
    "conch.test.test_conch.OpenSSHKeyExchangeTests.test_ECDHSHA521": PROCESS,
    "conch.test.test_conch.OpenSSHKeyExchangeTests.test_MLKEM768X25519_SHA256": PROCESS,
    "test.test_ftp.FTPServerIPv4MappedPasvDataConnectionTests": VERSIONS,
    "test.test_tcp.HalfCloseTests.testCloseWriteCloser": INTERNALS,
    "test.test_tcp.ListeningTests.test_directConnectionLostCall": INTERNALS,
    "test.test_tcp.ListeningTests.test_exceptInConnectionLostCall": INTERNALS,
    "test.test_tcp.LoopbackTests.test_closePortInProtocolFactory": INTERNALS,
    "test.test_tcp.ProperlyCloseFilesTests.test_properlyCloseFiles": SOCKET,
}

#: More of them, between two hosts.
EXPECTED_LINKED = {"test.test_tcp.CannotBindTests.test_cannotBind": TRANSLATED}

#: The suites: how many tests each has at least, and how many connections of hosts these open at least.
SHORT = {
    "twisted.test.test_tcp": (30, 20),
    "twisted.test.test_ssl": (15, 10),
}
LONG = {
    # The clients of its own tests are processes.
    "twisted.conch.test": (950, 0),
    "twisted.internet.test.test_endpoints": (200, 0),
    "twisted.internet.test.test_protocol": (20, 0),
    "twisted.mail.test": (600, 50),
    "twisted.names.test": (550, 1),
    "twisted.protocols.test": (120, 0),
    "twisted.spread.test": (120, 2),
    "twisted.test.test_amp": (120, 3),
    "twisted.test.test_ftp": (190, 200),
    "twisted.test.test_internet": (50, 0),
    "twisted.test.test_policies": (30, 4),
    "twisted.test.test_protocols": (5, 2),
    "twisted.test.test_strports": (2, 0),
    "twisted.web.test": (1200, 100),
    "twisted.words.test": (500, 1),
}


@pytest.mark.parametrize("kind", ["Alone", "Linked"])
@pytest.mark.parametrize("suite", [*SHORT, *(pytest.param(suite, marks=pytest.mark.long("suites")) for suite in LONG)])
def test_suite(suite: str, kind: str, tmp_path: Path) -> None:
    """
    What fails is what is expected to. What older versions of Twisted lack, or the machine, is skipped; and what fails
    with the kernel's TCP too says nothing of ours.
    """
    expected = EXPECTED if kind == "Alone" else {**EXPECTED, **EXPECTED_LINKED}
    outcome = runSuites(kind, [suite], str(tmp_path / "hosts"), expected)
    failed = {name for name in outcome.failed if not entryOf(name, expected)}
    if failed:
        failed -= set(runSuites("Kernel", sorted(failed), str(tmp_path / "kernel")).failed)
    told = "\n".join(outcome.failed[name] for name in sorted(failed))
    assert not failed, f"failed, and should not have:\n{told}"
    missed = {name for name in passed(outcome) if entryOf(name, expected)}
    assert not missed, "expected to fail, and did not"
    tests, connections = {**SHORT, **LONG}[suite]
    assert len(outcome.ran) >= tests, "the suite lacks tests"
    assert outcome.opened >= connections, "the suite has not used the hosts"


def passed(outcome: Outcome) -> set[str]:
    """
    The names of the tests that did not fail.
    """
    return outcome.ran - set(outcome.failed)


def test_stuckTest(tmp_path: Path) -> None:
    """
    A test that never ends is named, and does not keep the others from ending.
    """
    with pytest.raises(RuntimeError, match=r"Stuck\.test_stuck \.\.\. Timeout"):
        runSuites("Kernel", ["tests.tcp.stuck"], str(tmp_path / "kernel"), stuck=1.0)
