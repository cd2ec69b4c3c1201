"""
Tests for the requests that a live page refuses.
"""

from __future__ import annotations

from typing import Any, cast

import pytest

from tests.service.observe.page.browser import Answer, Served

_PATHS = ["/", "/page.js", "/latest.json", "/history.json", "/events", "/captures/1.pcapng", "/nothing"]


@pytest.mark.parametrize("path", _PATHS)
def test_aRequestWithoutTheTokenIsRefused(path: str) -> None:
    served = Served()
    for cookie in None, "other=1", f"{served.guard.cookie.decode()}=wrong", f"{served.guard.cookie.decode()}=\xe9":
        answer = served.ask("GET", path, cookie=cookie)
        assert answer.status == 401
        assert b"token" in answer.body
    assert not served.recorder.isRunning


@pytest.mark.parametrize("path", _PATHS)
def test_aRequestByAnUnknownNameIsRefused(path: str) -> None:
    served = Served()
    for host in None, "evil.example", "evil.example:8080", "127.0.0.1.evil.example", "[::2]:8080", "":
        # Twisted answers a request without Host itself.
        assert served.ask("GET", path, host=host).status in (400, 421)
    assert not served.recorder.isRunning


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:8080", "[::1]:8080", "page.example"])
def test_theNamesOfThePageAreKnown(host: str) -> None:
    assert Served().ask("GET", "/latest.json", host=host).status == 200


def test_theTokenIsTradedForACookie() -> None:
    served = Served()
    answer = served.ask("GET", f"/?token={served.guard.token}", cookie=None)
    assert (answer.status, answer.fields["location"]) == (303, "./")
    assert answer.fields["set-cookie"] == f"{served.cookie}; HttpOnly; SameSite=Strict"
    assert served.ask("GET", "/", cookie=answer.fields["set-cookie"].partition(";")[0]).status == 200


@pytest.mark.parametrize(("scheme", "isSecure"), [("https", True), ("http", False), ("HTTPS, x", False)])
def test_theCookieIsForTLSAloneIfAProxySpeaksIt(scheme: str, isSecure: bool) -> None:
    served = Served()
    answer = served.ask("GET", f"/?token={served.guard.token}", x_forwarded_proto=scheme)
    assert answer.fields["set-cookie"].endswith("; Secure") is isSecure


def test_aWrongTokenGivesNoCookie() -> None:
    served = Served()
    answer = served.ask("GET", "/?token=wrong", cookie=None)
    assert answer.status == 401
    assert "set-cookie" not in answer.fields


def test_theTokenDoesNotHelpUnderAnUnknownName() -> None:
    served = Served()
    assert served.ask("GET", f"/?token={served.guard.token}", host="evil.example").status == 421


def test_eachPageHasAnotherTokenAndCookie() -> None:
    one, other = Served().guard, Served().guard
    assert one.token != other.token
    assert one.cookie != other.cookie
    assert len(one.token) >= 32


@pytest.mark.parametrize("path", [*_PATHS, "/meanings.json"])
@pytest.mark.parametrize("cookie", [True, False])
def test_eachAnswerForbidsOtherSites(path: str, cookie: bool) -> None:
    served = Served()
    fields = served.ask("GET", path, cookie=served.cookie if cookie else None).fields
    assert "default-src 'none'" in fields["content-security-policy"]
    assert "frame-ancestors 'none'" in fields["content-security-policy"]
    assert fields["x-content-type-options"] == "nosniff"
    assert fields["referrer-policy"] == "no-referrer"
    assert fields["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in fields


_ORIGINS = [
    *(None, "null", "file://", "http://evil.example", "http://127.0.0.1.evil.example", "http://[", "\xff"),
    # A server of another user of this machine, and what only looks like the page's own.
    *("http://127.0.0.1:9000", "http://127.0.0.1", "http://localhost:8080", "http://127.0.0.1:8080@evil.example"),
    *("http://page.example@evil.example", "http://page.example.evil.example", "ftp://127.0.0.1:8080"),
]


@pytest.mark.parametrize("origin", _ORIGINS)
def test_aChangeOfAnotherOriginIsRefused(origin: str | None) -> None:
    served = Served()
    body = b'{"interface": "tap0", "up": "loss 100%"}'
    answer = served.ask("POST", "/impairment", body, origin=origin)
    said = b"The request needs the page's own Origin" if origin is None else b"Another site has made this request"
    assert (answer.status, said in answer.body) == (403, True)
    assert str(served.subject.impairment.up) == ""  # type: ignore[union-attr]


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_aChangeOfAnotherSiteIsRefused(site: str) -> None:
    served = Served()
    assert served.ask("POST", "/captures", b'{"do": "start", "interface": "tap0"}', sec_fetch_site=site).status == 403
    assert served.captures.of(served.subject) == []


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_aCaptureIsNotReadByAnotherSite(site: str) -> None:
    served = Served()
    served.change("/captures", do="start", interface="tap0")
    assert served.ask("GET", "/captures/1.pcapng", sec_fetch_site=site).status == 403


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonx"])
def test_aChangeThatIsNoJSONIsRefused(kind: str | None) -> None:
    served = Served()
    assert served.ask("POST", "/captures", b'{"do": "start", "interface": "tap0"}', content_type=kind).status == 415


def test_aChangeWithoutTheTokenIsRefused() -> None:
    assert Served().ask("POST", "/captures", b"{}", cookie=None).status == 401


def test_aLongBodyIsRefusedAndNotKept() -> None:
    served = Served()
    answer = served.ask("POST", "/captures", b"[" * 100_000)
    assert answer.status == 413
    protocol, transport = served.connect()
    protocol.dataReceived(served.octets("POST", "/captures", content_length="1000000000", cookie=None))
    for _ in range(100):
        protocol.dataReceived(b"x" * 10_000)
    (request,) = cast(Any, protocol).requests
    assert len(request.content.getvalue()) == 4097
    assert transport.value() == b""


@pytest.mark.parametrize("path", ["/captures", "/impairment"])
def test_aPageWithoutControlChangesNothing(path: str) -> None:
    served = Served(allowsChanges=False)
    answer = served.change(path, do="start", interface="tap0", up="loss 1%")
    assert (answer.status, b"--page-control" in answer.body) == (403, True)
    assert served.captures.of(served.subject) == []
    assert served.ask("GET", "/captures/1.pcapng").status == 403
    assert served.ask("GET", "/history.json").json()["allowsChanges"] is False


def test_aProxyOfAGivenNameMayHaveAPortOfItsOwn() -> None:
    served = Served()
    body = b'{"interface": "tap0", "up": "loss 1%"}'
    for host in "page.example", "127.0.0.1:8080":
        answer = served.ask("POST", "/impairment", body, host=host, origin="https://page.example:8443")
        assert answer.status == 200


@pytest.mark.parametrize("field", ["Host", "Cookie", "Origin", "Content-Type", "Sec-Fetch-Site"])
def test_octetsThatAreNoTextAreRefused(field: str) -> None:
    served = Served()
    octets = served.octets("POST", "/captures", b'{"do": "start", "interface": "tap0"}')
    lines = [line for line in octets.split(b"\r\n") if not line.lower().startswith(field.lower().encode() + b":")]
    lines.insert(1, field.encode() + b": \xff\xfe")
    protocol, transport = served.connect()
    protocol.dataReceived(b"\r\n".join(lines))
    assert Answer(transport.value()).status in (401, 403, 415, 421)
    assert served.captures.of(served.subject) == []


def test_aRequestWithTwoNamesIsRefused() -> None:
    served = Served()
    assert served.ask("GET", "/latest.json", host="127.0.0.1:8080\r\nHost: localhost").status == 421
