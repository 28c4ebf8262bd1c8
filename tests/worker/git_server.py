"""A real git server on loopback: `git http-backend` behind HTTPS, with a certificate of its own."""

from __future__ import annotations

import base64
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

WHO = {
    **{f"GIT_{role}_{part}": value for role in ("AUTHOR", "COMMITTER") for part, value in (
        ("NAME", "ada"), ("EMAIL", "ada@example.org"), ("DATE", "2026-01-01T00:00:00Z"))},
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
}  # fmt: skip


def git(folder: Path, *arguments: str) -> str:
    """What git prints."""
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, env={**os.environ, **WHO}, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


def repository(folder: Path, *, form: str = "sha1") -> Path:
    """An empty repository with a work tree."""
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main", f"--object-format={form}")
    return folder


def commit(folder: Path, files: dict[str, str]) -> str:
    """Write files and commit them; the commit's hash."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "more")
    return git(folder, "rev-parse", "HEAD")


@dataclass
class GitServer:
    """The running server."""

    address: str
    root: Path
    certificate: Path
    login: tuple[str, str] | None = None
    """Who may read; None: everybody."""
    versions: bool = True
    """Whether it speaks protocol v2."""
    moved_to: str | None = None
    """The address that it redirects to."""
    page: bytes | None = None
    """What it answers instead of git."""
    logins: list[str | None] = field(default_factory=list)
    """The Authorization header of each request."""


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that does not trust the certificate hangs up: its test says so."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


@contextmanager
def start_git_server(root: Path) -> Iterator[GitServer]:
    """Serves the repositories below the folder until the block ends."""
    certificate, key = root / "server.pem", root / "server.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)],
        capture_output=True, timeout=60, check=True,
    )  # fmt: skip

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            given = self.headers.get("Authorization")
            here.logins.append(given)
            if here.moved_to is not None:
                self.send_response(302)
                self.send_header("Location", here.moved_to + self.path)
                self.send_header("Content-Length", "0")
                self.end_headers()
            elif here.login and given != "Basic " + base64.b64encode(":".join(here.login).encode()).decode():
                self.send_response(401)
                self.send_header("WWW-Authenticate", "Basic")
                self.send_header("Content-Length", "0")
                self.end_headers()
            elif here.page is not None:
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(here.page)))
                self.end_headers()
                self.wfile.write(here.page)
            else:
                self._backend(body)

        def _backend(self, body: bytes) -> None:
            path, _, query = self.path.partition("?")
            environment = {
                **os.environ,
                **WHO,
                "GIT_PROJECT_ROOT": str(root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "REQUEST_METHOD": self.command,
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "CONTENT_TYPE": self.headers.get("Content-Type") or "",
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding") or "",
                "GIT_PROTOCOL": (self.headers.get("Git-Protocol") or "") if here.versions else "",
            }
            done = subprocess.run(
                ["git", "http-backend"], input=body, env=environment, capture_output=True, timeout=60, check=False
            )
            head, _, rest = done.stdout.partition(b"\r\n\r\n")
            lines = [line.split(": ", 1) for line in head.decode().split("\r\n")]
            headers = dict(lines)
            self.send_response(int(headers.pop("Status", "200").split()[0]))
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            self.wfile.write(rest)

        do_GET = do_POST = _answer

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = _Server(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    here = GitServer(f"https://localhost:{server.server_port}", root, certificate)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield here
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
