"""No kind that opens a connection of its own reaches a metadata service, whatever it is called."""

import pytest

from probes.lookup import resolve
from probes.probe import Deadline
from probes.result import Reason

URLS = {
    "tcp": "tcp://{}:80",
    "tls": "tls://{}:443",
    "redis": "redis://{}:6379",
    "memcached": "{}:11211",
    "mysql": "mysql://probe@{}:3306/shop",
    "postgresql": "postgresql://probe@{}:5432/shop",
}


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "[::ffff:a9fe:a9fe]", "100.100.100.200"])
@pytest.mark.parametrize("kind", URLS)
def test_metadata_and_link_local_are_never_connected_to(asker, kind, host):
    assert asker(kind, {"url": URLS[kind].format(host)})().reason is Reason.SSRF_BLOCKED


@pytest.mark.parametrize("kind", URLS)
def test_name_that_leads_there_is_no_way_in(asker, kind, monkeypatch):
    def lead_astray(host: str, deadline: Deadline) -> tuple[str, ...]:
        return ("127.0.0.1", "169.254.169.254") if host == "shop.example" else resolve(host, deadline)

    monkeypatch.setattr("probes.lookup.resolve", lead_astray)
    reading = asker(kind, {"url": URLS[kind].format("shop.example")})()
    assert reading.reason is Reason.SSRF_BLOCKED
    assert "shop.example (169.254.169.254)" in reading.message


@pytest.mark.parametrize(
    "query", ["host=169.254.169.254", "host=127.0.0.1&hostaddr=169.254.169.254", "host=::1,fe80::1"]
)
def test_hosts_in_the_query_of_a_postgresql_url_are_checked_too(asker, query):
    assert asker("postgresql", {"url": f"postgresql:///shop?{query}"})().reason is Reason.SSRF_BLOCKED


@pytest.mark.parametrize("kind", ["tcp", "tls", "memcached"])
def test_address_that_is_named_exactly_is_tried(asker, kind):
    reading = asker(kind, {"host": "fe80::1", "port": 9, "allow_addresses": ["fe80::1"]}, timeout_s=0.5)()
    assert reading.reason in {Reason.NET_UNREACHABLE, Reason.TCP_TIMEOUT, Reason.TCP_REFUSED}


def test_private_addresses_stay_reachable(closed_port, asker):
    assert asker("tcp", {"url": f"tcp://127.0.0.1:{closed_port}"})().reason is Reason.TCP_REFUSED
