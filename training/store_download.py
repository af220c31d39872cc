"""One request for one picture: its bytes, or in one sentence why there are none.

Follows redirects, but only over http and https, and only to public addresses unless allowed
otherwise: a table of URLs must not reach into the network it is fetched from. Knows no store, no
retries, and not whether the bytes are a picture.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import ssl
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from urllib.request import getproxies, proxy_bypass

import httpx2

from molmo_model.retry_after import retry_after_s

USER_AGENT = "molmo_ros picture collector (python-httpx2)"
REDIRECTS = 5
MAX_PORT = 65535
SCHEMES = ("http", "https")
BUSY = {429, 503}
PASSING = {408, 425, 429, 500, 502, 503, 504}  # statuses that may be others later


class RefusedError(Exception):
    """No picture is to be had here, now and at the next attempt.

    is_ours: we do not ask; another setting may
    """

    def __init__(self, reason: str, *, is_ours: bool = False):
        super().__init__(reason)
        self.is_ours = is_ours


class PassingError(Exception):
    """What may be gone at the next attempt.

    wait_s:    that the server asks for
    is_busy:   the whole server wants to be left alone
    is_silent: no server answered
    part:      what came before the server closed the connection
    """

    def __init__(
        self,
        reason: str,
        *,
        wait_s: float = 0.0,
        is_busy: bool = False,
        is_silent: bool = False,
        part: bytes = b"",
    ):
        super().__init__(reason)
        self.wait_s, self.is_busy = wait_s, is_busy
        self.is_silent, self.part = is_silent, part


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a request may take.

    connect_s, silence_s, total_s: the longest to wait for a connection, for more, and for all
    size:                          bytes of a picture, at most
    private:                       allow addresses that are not of the public internet
    """

    connect_s: float = 10.0
    silence_s: float = 15.0
    total_s: float = 120.0
    size: int = 64_000_000
    private: bool = False


class Downloader:
    """Sends requests, over connections that are kept; to be closed."""

    def __init__(self, limits: Limits, connections: int):
        self._limits = limits
        self._public: set[str] = set()  # hosts that were looked up
        self._client = httpx2.AsyncClient(
            headers={"User-Agent": USER_AGENT, "Accept": "image/*,*/*;q=0.5"},
            timeout=httpx2.Timeout(limits.silence_s, connect=limits.connect_s, pool=None),
            limits=httpx2.Limits(
                max_connections=connections, max_keepalive_connections=connections
            ),
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),  # none: they only grow
            follow_redirects=True,
            max_redirects=REDIRECTS,
            event_hooks={"request": [self._check_request]},
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def get(self, url: str) -> bytes:
        """The bytes behind a URL; raises RefusedError or PassingError."""
        total_s = self._limits.total_s
        try:
            return await asyncio.wait_for(self._get(url), total_s)
        except asyncio.TimeoutError:
            raise PassingError(f"took longer than {total_s:g} s") from None

    async def _get(self, url: str) -> bytes:
        part = bytearray()
        try:
            async with self._client.stream("GET", url) as response:
                self._check_response(response)
                async for chunk in response.aiter_bytes():
                    part += chunk
                    if len(part) > self._limits.size:
                        raise self._too_large()
        except httpx2.TooManyRedirects:
            raise RefusedError(f"redirected more than {REDIRECTS} times") from None
        except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
            raise RefusedError(f"no URL: {error}") from error
        except httpx2.DecodingError as error:
            raise RefusedError(f"cannot be unpacked: {error}") from error
        except httpx2.TransportError as error:
            raise _passing(error, bytes(part)) from error
        return bytes(part)

    async def _check_request(self, request: httpx2.Request) -> None:
        """Before each request, those of redirects too: is this an address that we ask?"""
        url = request.url
        if url.scheme not in SCHEMES or not url.host:
            raise RefusedError(f"only http and https are fetched: {url}", is_ours=True)
        if url.port is not None and not 0 < url.port <= MAX_PORT:
            raise RefusedError(f"no URL: there is no port {url.port}")
        is_known = self._limits.private or url.host in self._public
        if is_known or _is_by_proxy(url.scheme, url.host):
            return
        try:
            loop = asyncio.get_running_loop()
            found = await loop.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            said = getattr(error, "strerror", None) or error
            raise PassingError(f"no connection: {said}", is_silent=True) from error
        for *_, address in found:
            _check_address(str(address[0]))
        self._public.add(url.host)

    def _check_response(self, response: httpx2.Response) -> None:
        """Before any of its body is read."""
        stream = response.extensions.get("network_stream")
        peer = stream.get_extra_info("server_addr") if stream is not None else None
        by_proxy = _is_by_proxy(response.url.scheme, response.url.host)
        if peer and not self._limits.private and not by_proxy:
            _check_address(str(peer[0]))  # a name may have got another address meanwhile
        status = response.status_code
        if status in PASSING:
            wait_s = retry_after_s(response.headers.get("Retry-After"))
            is_busy = status in BUSY
            raise PassingError(_said(response), wait_s=wait_s, is_busy=is_busy)
        if status != 200:
            raise RefusedError(_said(response))
        if int(response.headers.get("Content-Length", "0")) > self._limits.size:
            raise self._too_large()

    def _too_large(self) -> RefusedError:
        return RefusedError(f"larger than {self._limits.size / 1e6:.0f} MB")


def _check_address(address: str) -> None:
    found = ipaddress.ip_address(address.partition("%")[0])
    if not (getattr(found, "ipv4_mapped", None) or found).is_global:
        raise RefusedError(
            f"a private address, allowed only with --private: {address}", is_ours=True
        )


def _is_by_proxy(scheme: str, host: str) -> bool:
    """A proxy looks names up itself, and decides itself what may be reached."""
    proxies = getproxies()
    return (scheme in proxies or "all" in proxies) and not proxy_bypass(host)


def _said(response: httpx2.Response) -> str:
    return f"{response.status_code} {response.reason_phrase}".strip()


def _passing(error: httpx2.TransportError, part: bytes) -> PassingError:
    """What a broken transfer says; a server that refuses connections does answer."""
    cause: BaseException = error
    while inner := cause.__cause__ or cause.__context__ or _first(cause):
        cause = inner
    if isinstance(cause, ConnectionError) and cause.errno:
        said = os.strerror(cause.errno)  # asyncio's own words repeat the address
    else:
        said = getattr(cause, "strerror", None) or str(cause) or type(error).__name__
    is_unconnected = isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
    is_answer = isinstance(cause, ConnectionRefusedError | ConnectionResetError | ssl.SSLError)
    reason = f"{'no connection' if is_unconnected else 'the connection broke'}: {said}"
    is_closed = isinstance(error, httpx2.RemoteProtocolError)  # by the server, before the end
    return PassingError(
        reason, is_silent=is_unconnected and not is_answer, part=part if is_closed else b""
    )


def _first(group: BaseException) -> BaseException | None:
    """Of several addresses that were tried."""
    return next(iter(getattr(group, "exceptions", ())), None)
