"""What a user may write about a request: nothing that could smuggle a header, nothing that evades the guard."""

from typing import Any

import pytest
from pydantic import ValidationError

from probes.address import Endpoint
from probes.http_options import HttpOptions

URL = "https://shop.example/"


@pytest.mark.parametrize(
    "options",
    [
        {"headers": {"X-Fine": "a\r\nX-Evil: 1"}},
        {"headers": {"X-Fine": "a\nb"}},
        {"headers": {"X-Fine": "a\x00b"}},
        {"headers": {"X-Fine\r\nX-Evil": "1"}},
        {"headers": {"X Fine": "1"}},
        {"headers": {"X-Fine:": "1"}},
        {"headers": {"": "1"}},
        {"headers": {"Bücher": "1"}},
        {"auth": {"scheme": "bearer", "token": "abc\r\nX-Evil: 1"}},
        {"auth": {"scheme": "bearer", "token": "abc\n"}},
        {"auth": {"username": "ann\r\n", "password": "x"}},
        {"auth": {"scheme": "digest", "username": "ann", "password": "x\r\n"}},
        {"method": "GET / HTTP/1.1\r\nX-Evil: 1"},
        {"method": "GET\n"},
        {"url": "https://shop.example/\r\nX-Evil: 1"},
        {"url": "https://ann%0d%0aX-Evil%3a1@shop.example/"},
        {"unix_socket": "/run/\nx"},
    ],
    ids=repr,
)
def test_nothing_smuggles_a_header(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        HttpOptions.model_validate({"url": URL} | options)
    assert "X-Evil: 1" not in str(caught.value.errors()[0]["msg"])


@pytest.mark.parametrize("name", ["x-fine", "X_Fine", "!#$%&'*+.^_`|~09Az-"])
def test_header_names_of_the_rfc_are_taken(name: str) -> None:
    assert HttpOptions(url=URL, headers={name: "a\tb ü"}).headers == {name: "a\tb ü"}


def test_encoded_line_break_in_a_path_stays_encoded() -> None:
    assert HttpOptions(url=f"{URL}a%0d%0ab").request().url == f"{URL}a%0d%0ab"


@pytest.mark.parametrize(
    "proxy",
    [
        "http://proxy.example",
        "proxy.example",
        "ftp://proxy.example:21",
        "http://proxy:99999",
        "http://proxy:80/path",
        "x y:1",
    ],
)
def test_proxy_needs_a_known_scheme_and_a_port(proxy: str) -> None:
    with pytest.raises(ValidationError):
        HttpOptions(url=URL, proxy=proxy)


@pytest.mark.parametrize("proxy", ["http://proxy.example:3128", "socks5h://ann:pw@[::1]:1080", "proxy.example:8080"])
def test_proxies_are_taken(proxy: str) -> None:
    assert HttpOptions(url=URL, proxy=proxy).request().proxy == proxy


@pytest.mark.parametrize("place", ["", "a/b", "http://a:80", "ann@a:80", "a:99999", "a b"])
def test_connect_to_is_an_address_and_a_port(place: str) -> None:
    with pytest.raises(ValidationError):
        HttpOptions(url=URL, connect_to=place)


def test_allowed_addresses_are_addresses_in_their_plain_form() -> None:
    assert HttpOptions(url=URL, allow_addresses=("FE80:0::1",)).allow_addresses == ("fe80::1",)
    with pytest.raises(ValidationError):
        HttpOptions(url=URL, allow_addresses=("169.254.0.0/16",))
    with pytest.raises(ValidationError):
        Endpoint(host="shop.example", allow_addresses=("metadata.example",))
