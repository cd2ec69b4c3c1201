"""
The rules that decide which requests a live page answers.

A page on the loopback interface can be reached by each user of the machine and by each web site that a browser of this
machine shows. So a request needs a secret token, a known C{Host} (against DNS rebinding), and, to change something, the
page's own C{Origin} (against cross-site requests).
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from typing import Any

#: The response headers of each answer: nothing comes from another host, and no other site may show the page in a frame.
HEADERS = {
    b"Content-Security-Policy": b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
    b" connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    b"X-Content-Type-Options": b"nosniff",
    b"Referrer-Policy": b"no-referrer",
    b"Cross-Origin-Resource-Policy": b"same-origin",
    b"Cache-Control": b"no-store",
}

#: The names under which a page on this machine is known.
_LOCAL = ("localhost", "127.0.0.1", "::1")


class Refusal(Exception):
    """
    A request is refused.

    @ivar status: the HTTP status code.
    @ivar why: the reason for the client.
    @ivar counter: the name under which it is counted.
    """

    def __init__(self, status: int, why: str, counter: str = "requestsRefused") -> None:
        super().__init__(why)
        self.status = status
        self.why = why
        self.counter = counter


class Guard:
    """
    Checks the requests of a page.

    @ivar token: the secret of the page, which the first request gives in the URL.
    @ivar allowsChanges: whether requests may change something, and read captures.
    """

    def __init__(self, hosts: Iterable[str] = (), allowsChanges: bool = False, own: Iterable[str] = ()) -> None:
        """
        @param hosts: further names by which the page is reached, such as that of a proxy.
        @param own: the names of the interface on which the page is served.
        """
        self.token = secrets.token_urlsafe(24)
        self.allowsChanges = allowsChanges
        self._own = {*_LOCAL, *(host.lower() for host in own)}
        self._hosts = {host.lower() for host in hosts}
        # Browsers send the cookies of a host to each of its ports, so each page has a cookie of its own.
        self.cookie = f"txtuntap-{hashlib.sha256(self.token.encode()).hexdigest()[:8]}".encode()

    def check(self, request: Any) -> None:
        """
        Check that the sender may read.

        @raise Refusal: the C{Host} is unknown, or the request has no token.
        """
        self.checkHost(request)
        given = request.getCookie(self.cookie) or b""
        if not hmac.compare_digest(given, self.token.encode()):
            raise Refusal(401, "Open the address that the service has logged: it ends in ?token=...")

    def isToken(self, request: Any) -> bool:
        """
        Whether the URL of a request has the token.

        @raise Refusal: the C{Host} is unknown.
        """
        self.checkHost(request)
        given = request.args.get(b"token", [b""])[0]
        return hmac.compare_digest(given, self.token.encode())

    def checkControl(self, request: Any) -> None:
        """
        Check that the sender may read captures.

        @raise Refusal: see L{check}. Or the page allows no changes, or another site has made the request.
        """
        self.check(request)
        if not self.allowsChanges:
            raise Refusal(403, "This page is read-only: start the service with --page-control")
        if _field(request, b"sec-fetch-site") not in ("", "same-origin", "none"):
            raise Refusal(403, "Another site has made this request")

    def checkChange(self, request: Any) -> None:
        """
        Check that the sender may change something.

        @raise Refusal: see L{checkControl}. Or the C{Origin} is missing or another site's, or the body is not JSON.
        """
        self.checkControl(request)
        origin = _field(request, b"origin")
        if not origin:
            raise Refusal(403, "The request needs the page's own Origin")
        if not self._isOwnOrigin(origin, _field(request, b"host")):
            raise Refusal(403, "Another site has made this request")
        if _field(request, b"content-type").partition(";")[0].strip().lower() != "application/json":
            raise Refusal(415, "The body has to be application/json")

    def checkHost(self, request: Any) -> None:
        """
        Check the name by which the page is asked for.

        @raise Refusal: the C{Host} is unknown.
        """
        isOne = len(request.requestHeaders.getRawHeaders(b"host", ())) == 1
        if not isOne or _nameOf(_field(request, b"host")) not in self._own | self._hosts:
            raise Refusal(421, "This name is unknown: give --page-host NAME to the service")

    def _isOwnOrigin(self, origin: str, host: str) -> bool:
        """
        Whether an origin is the page itself. Another port of this machine is another origin. For the names that were
        given, the port is not compared, because a proxy has a port of its own.
        """
        scheme, separator, place = origin.lower().partition("://")
        if scheme not in ("http", "https") or not separator:
            return False
        return place == host.lower() or _nameOf(place) in self._hosts


def _field(request: Any, name: bytes) -> str:
    """
    Return a header field; empty if there is none. Octets that are not ASCII stay distinct.
    """
    return (request.getHeader(name) or b"").decode("latin-1")


def _nameOf(place: str) -> str:
    """
    Return the host of C{host:port}, in lower case and without the brackets of an IPv6 address.
    """
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]@:]+))(?::[0-9]*)?", place)
    return "" if found is None else (found[1] or found[2]).lower()
