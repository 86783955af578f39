"""A real nginx and the authority of its certificates, for every kind that meets it."""

import datetime
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp

CONF = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.pem;
  server {{
    listen 127.0.0.1:{plain};
    location / {{ return 200 $server_protocol; }}
    location /nowhere {{ return 302 http://127.0.0.1:1/; }}
    location /private {{ auth_basic shop; auth_basic_user_file {folder}/users; alias {folder}/private.txt; }}
  }}
  server {{
    listen 127.0.0.1:{secure} ssl http2;
    location / {{ return 200 $server_protocol; }}
    location /away {{ return 302 /; }}
    location /large {{ add_header X-Large {large}; return 200; }}
  }}
  server {{
    listen 127.0.0.1:{demanding} ssl; ssl_client_certificate {folder}/ca.pem; ssl_verify_client on;
    location / {{ return 200 $ssl_client_s_dn; }}
  }}
  server {{
    listen 127.0.0.1:{revoked} ssl; ssl_stapling on; ssl_stapling_file {folder}/revoked.der;
    location / {{ return 200 fine; }}
  }}
  server {{
    listen 127.0.0.1:{stale} ssl; ssl_stapling on; ssl_stapling_file {folder}/stale.der;
    location / {{ return 200 fine; }}
  }}
  server {{
    listen 127.0.0.1:{good} ssl; ssl_stapling on; ssl_stapling_file {folder}/good.der;
    location / {{ return 200 fine; }}
  }}
}}
"""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Nginx:
    """A real nginx: `url("secure")` names one of its servers; certificates of the test's authority."""

    def __init__(self, folder: Path, authority: trustme.CA) -> None:
        self.ports = {name: free_port() for name in ("plain", "secure", "demanding", "revoked", "stale", "good")}
        until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(9)
        leaf = authority.issue_cert("127.0.0.1", "shop.example", not_after=until)
        leaf.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
        authority.cert_pem.write_to_path(folder / "server.pem", append=True)  # OCSP needs the issuer in the chain
        self.ca_file = str(folder / "ca.pem")
        authority.cert_pem.write_to_path(self.ca_file)
        for name, age_days in (("revoked", 0), ("stale", 30), ("good", 0)):
            (folder / f"{name}.der").write_bytes(staple(authority, leaf, name == "revoked", age_days))
        (folder / "users").write_text("ann:{PLAIN}secret\n")
        (folder / "private.txt").write_text("in")
        (folder / "nginx.conf").write_text(CONF.format(folder=folder, large="x" * 3000, **self.ports))
        program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin") or ""
        self._process = subprocess.Popen(
            [program, "-p", folder, "-c", folder / "nginx.conf"], stderr=subprocess.PIPE, text=True
        )
        self._wait()

    def _wait(self) -> None:
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", self.ports["good"]), 1).close()
                return
            except OSError:
                assert self._process.poll() is None, self._process.communicate()[1]
                time.sleep(0.05)
        raise AssertionError("nginx does not listen")

    def url(self, server: str, path: str = "/") -> str:
        scheme = "http" if server == "plain" else "https"
        return f"{scheme}://127.0.0.1:{self.ports[server]}{path}"

    def close(self) -> None:
        self._process.terminate()
        self._process.communicate(timeout=10)


def staple(authority: trustme.CA, leaf: trustme.LeafCert, is_revoked: bool, age_days: float) -> bytes:
    """What the authority's OCSP responder would have said of a certificate so long ago."""
    now = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=age_days)
    issuer = x509.load_pem_x509_certificate(authority.cert_pem.bytes())
    key = serialization.load_pem_private_key(authority.private_key_pem.bytes(), None)
    builder = ocsp.OCSPResponseBuilder().add_response(
        cert=x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes()),
        issuer=issuer,
        algorithm=hashes.SHA1(),
        cert_status=ocsp.OCSPCertStatus.REVOKED if is_revoked else ocsp.OCSPCertStatus.GOOD,
        this_update=now - datetime.timedelta(hours=1),
        next_update=now + datetime.timedelta(days=1),
        revocation_time=now - datetime.timedelta(hours=2) if is_revoked else None,
        revocation_reason=x509.ReasonFlags.key_compromise if is_revoked else None,
    )
    response = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, issuer).sign(key, hashes.SHA256())
    return response.public_bytes(serialization.Encoding.DER)


@pytest.fixture(scope="session")
def nginx(tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA) -> Iterator[Nginx]:
    if not (shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")):
        if os.environ.get("CI") == "true":
            pytest.fail("nginx is needed in CI")
        pytest.skip("no nginx")
    folder = tmp_path_factory.mktemp("nginx")
    folder.chmod(0o755)
    made = Nginx(folder, authority)
    yield made
    made.close()


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


@pytest.fixture
def six() -> None:
    """Skips where loopback has no IPv6."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 on loopback")


@pytest.fixture
def black_hole(six: None) -> Callable[[socket.AddressFamily, str, int], AbstractContextManager[None]]:
    """Drops every SYN to a port: a listener with a full backlog, as a firewall that answers nothing."""

    @contextmanager
    def hole(family: socket.AddressFamily, address: str, port: int) -> Iterator[None]:
        with socket.socket(family) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, port))
            listener.listen(0)
            fillers = [socket.socket(family) for _ in range(4)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex((address, port))
            try:
                yield
            finally:
                for filler in fillers:
                    filler.close()

    return hole
