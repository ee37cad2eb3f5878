"""Who may look: anyone on this machine; from elsewhere only with the token. No state is kept of who has logged in."""

from __future__ import annotations

import hashlib
import hmac
import html
import ipaddress
import os
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

import flask
import itsdangerous
import msgspec

from analyzer.config import ConfigError, from_environment

TOKEN_VARIABLE = "EVENKEEL_DASHBOARD_TOKEN"  # noqa: S105 - its name
SHORTEST_TOKEN = 16
COOKIE = "evenkeel_dashboard"
SESSION_S = 30 * 86400
OPEN_PATHS = frozenset({"/login", "/health", "/health/live", "/health/ready"})
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class Address(msgspec.Struct, frozen=True):
    """Where to listen."""

    host: str
    port: int
    loopback: bool

    @property
    def url(self) -> str:
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}/"


def parse_address(text: str) -> Address:
    """ "127.0.0.1:8097", "[::1]:8097", "localhost:0". Raises ValueError."""
    wrong = f'--listen: "{text}" is no address; write for example "127.0.0.1:8097"'
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(wrong) from error
    if not host or port is None or parts.path or parts.query or parts.username is not None:
        raise ValueError(wrong)
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except OSError as error:
        raise ValueError(
            f'--listen: "{host}" can\'t be resolved ({error}); write an address of this machine'
        ) from error
    return Address(host, port, all(ipaddress.ip_address(str(address)).is_loopback for address in found))


def token_for(address: Address, environ: Mapping[str, str] | None = None) -> str:
    """The token; empty for none, which only loopback allows. Raises ConfigError."""
    token = (from_environment(TOKEN_VARIABLE, os.environ if environ is None else environ) or "").strip()
    if not token and not address.loopback:
        raise ConfigError(
            f"--listen {address.host}:{address.port}: others could look without a token; set {TOKEN_VARIABLE}[_FILE] "
            f"to a secret of {SHORTEST_TOKEN} characters or more, or listen on 127.0.0.1"
        )
    if token and len(token) < SHORTEST_TOKEN:
        raise ConfigError(
            f"environment: {TOKEN_VARIABLE}: shorter than {SHORTEST_TOKEN} characters can be guessed; "
            "take for example what 'openssl rand -hex 24' prints"
        )
    return token


class Access:
    """Guards every request to a server."""

    def __init__(self, token: str) -> None:
        """`token`: empty for none."""
        self._token = token
        self._signer = itsdangerous.TimestampSigner(token, salt=COOKIE, digest_method=hashlib.sha256)

    def register(self, server: flask.Flask) -> None:
        server.before_request(self.check)
        if self._token:
            server.add_url_rule("/login", view_func=self.login, methods=["GET", "POST"])

    def check(self) -> flask.Response | None:
        """None lets the request pass."""
        request = flask.request
        if not self._token:
            # A page elsewhere whose name is pointed at 127.0.0.1 gets here too (DNS rebinding), with its own name.
            if _host(request.headers.get("Host", "")) in LOCAL_NAMES:
                return None
            return _text(f"no such host here: open http://localhost, or set {TOKEN_VARIABLE}[_FILE]", 421)
        if request.path in OPEN_PATHS or self._known(request):
            return None
        if request.path == "/" and request.method == "GET":
            query = request.query_string.decode("ascii", "ignore")
            return _redirect(f"/login?{query}" if query else "/login")
        refused = _text("log in first: open / in a browser, or send Authorization: Bearer", 401)
        refused.headers["WWW-Authenticate"] = "Bearer"
        return refused

    def login(self) -> flask.Response:
        request = flask.request
        if request.method == "GET":
            return _form("")
        if not self._matches(request.form.get("token", "").strip()):
            return _form("That is not the token.", 403)
        query = request.query_string.decode("ascii", "ignore")
        response = _redirect(f"/?{query}" if query else "/")
        response.set_cookie(
            COOKIE,
            self._signer.sign(b"in").decode(),
            max_age=SESSION_S,
            secure=request.is_secure,
            httponly=True,
            samesite="Lax",
        )
        return response

    def _known(self, request: flask.Request) -> bool:
        kind, _, credential = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return self._matches(credential.strip())
        try:
            self._signer.unsign(request.cookies.get(COOKIE, ""), max_age=SESSION_S)
        except itsdangerous.BadSignature:
            return False
        return True

    def _matches(self, given: str) -> bool:
        """In a time that tells neither how much of it is right nor how long it should be."""
        digests = (hashlib.sha256(text.encode()).digest() for text in (given, self._token))
        return hmac.compare_digest(*digests)


def _host(header: str) -> str:
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def _text(message: str, status: int) -> flask.Response:
    return flask.Response(f"{message}\n", status, mimetype="text/plain")


def _redirect(location: str) -> flask.Response:
    return flask.Response(status=303, headers={"Location": location})


def _form(problem: str, status: int = 200) -> flask.Response:
    said = f'<p role="alert">{html.escape(problem)}</p>' if problem else ""
    response = flask.Response(_LOGIN.replace("<!-- problem -->", said), status, mimetype="text/html")
    response.headers["Content-Security-Policy"] = (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )
    return response


_LOGIN = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Evenkeel: log in</title>
<style>
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { display: grid; place-items: center; min-height: 90vh; margin: 0 16px; }
form { display: grid; gap: 12px; width: min(360px, 100%); }
h1 { font-size: 20px; margin: 0; }
input, button { font: inherit; padding: 10px 12px; border-radius: 8px; border: 1px solid #8a94a3; }
button { background: #1f5fbf; color: #fff; border-color: #1f5fbf; cursor: pointer; }
:focus-visible { outline: 3px solid #5b9bff; outline-offset: 2px; }
</style>
</head>
<body>
<form method="post">
<h1>Evenkeel</h1>
<!-- problem -->
<label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button>Log in</button>
</form>
</body>
</html>
"""
