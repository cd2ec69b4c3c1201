"""
Tests for programs that use a host in place of the reactor, by the test suites of Twisted's protocols.
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

#: The tests that must fail, and the classes whose tests must all fail, with the reason.
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

#: The tests that must fail between two hosts only.
EXPECTED_LINKED = {"test.test_tcp.CannotBindTests.test_cannotBind": TRANSLATED}

#: The suites, each with the least number of tests in it, and the least number of connections that they open.
SHORT = {
    "twisted.test.test_tcp": (30, 20),
    "twisted.test.test_ssl": (15, 10),
}
LONG = {
    # The clients of these tests are processes with the kernel's TCP.
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
@pytest.mark.unix("groups of processes")
def test_theSuiteOfTwistedPasses(suite: str, kind: str, tmp_path: Path) -> None:
    """
    Exactly the expected tests fail. Tests that the installed Twisted or the machine lacks are skipped. Tests that fail
    with the kernel's TCP, too, do not count.
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
    Return the names of the tests that did not fail.
    """
    return outcome.ran - set(outcome.failed)


@pytest.mark.unix("groups of processes")
def test_aTestThatNeverEndsIsNamed(tmp_path: Path) -> None:
    """
    A test that never ends is named in the error, and its process ends.
    """
    with pytest.raises(RuntimeError, match=r"Stuck\.test_stuck \.\.\. Timeout"):
        runSuites("Kernel", ["tests.tcp.stuck"], str(tmp_path / "kernel"), stuck=1.0)
