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
from urllib.parse import urlsplit

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
    """

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.why = why


class Guard:
    """
    Checks the requests of a page.

    @ivar token: the secret of the page, which the first request gives in the URL.
    @ivar allowsChanges: whether requests may change something, and read captures.
    """

    def __init__(self, hosts: Iterable[str] = (), allowsChanges: bool = False) -> None:
        """
        @param hosts: further names by which the page is reached, such as that of a proxy.
        """
        self.token = secrets.token_urlsafe(24)
        self.allowsChanges = allowsChanges
        self._hosts = {*_LOCAL, *(host.lower() for host in hosts)}
        # Browsers send the cookies of a host to each of its ports, so each page has a cookie of its own.
        self.cookie = f"txtuntap-{hashlib.sha256(self.token.encode()).hexdigest()[:8]}".encode()

    def check(self, request: Any) -> None:
        """
        Check that the sender may read.

        @raise Refusal: the C{Host} is unknown, or the request has no token.
        """
        self._checkHost(request)
        given = request.getCookie(self.cookie) or b""
        if not hmac.compare_digest(given, self.token.encode()):
            raise Refusal(401, "Open the address that the service has logged: it ends in ?token=...")

    def isToken(self, request: Any) -> bool:
        """
        Whether the URL of a request has the token.

        @raise Refusal: the C{Host} is unknown.
        """
        self._checkHost(request)
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
        if request.getHeader("sec-fetch-site") not in (None, "same-origin", "none"):
            raise Refusal(403, "Another site has made this request")

    def checkChange(self, request: Any) -> None:
        """
        Check that the sender may change something.

        @raise Refusal: see L{checkControl}. Or the C{Origin} is another site's, or the body is not JSON.
        """
        self.checkControl(request)
        origin = request.getHeader("origin")
        if origin is None or (urlsplit(origin).hostname or "") not in self._hosts:
            raise Refusal(403, "Another site has made this request")
        if (request.getHeader("content-type") or "").partition(";")[0].strip().lower() != "application/json":
            raise Refusal(415, "The body has to be application/json")

    def _checkHost(self, request: Any) -> None:
        host = re.sub(r":[0-9]*$", "", request.getHeader("host") or "").strip("[]").lower()
        if host not in self._hosts:
            raise Refusal(421, "This name is unknown: give --page-host NAME to the service")
