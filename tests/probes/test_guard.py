"""Hosts that must never be connected to, in every spelling, and those that must stay reachable."""

import pytest

from probes.guard import blocked, check_addresses, is_public, literal_address
from probes.probe import Failure
from probes.result import Reason
from probes.url import UrlError, ascii_host, read_url

BLOCKED = [
    "http://169.254.169.254/",
    "http://169.254.0.1:8080/",
    "http://2852039166/",
    "http://0xa9fea9fe/",
    "http://0251.0376.0251.0376/",
    "http://0xa9.254.0xa9fe/",
    "http://169.254.43518/",
    "http://169.254.169.254./",
    "http://[::ffff:169.254.169.254]/",
    "http://[::ffff:a9fe:a9fe]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[64:ff9b:1::a9fe:a9fe]/",
    "http://[2002:a9fe:a9fe::1]/",
    "http://[fe80::1]/",
    "http://[febf::1]/",
    "http://[fd00:ec2::254]/",
    "http://100.100.100.200/",
    "http://168.63.129.16/",
    "http://192.0.0.192/",
    "http://user:pw@169.254.169.254/",
    "http://①⑥⑨.②⑤④.①⑥⑨.②⑤④/",
    "http://169。254。169。254/",
    "http://０xa9.254.169.254/",
    "http://169.254.169.254:80#@shop.example/",
    "http://shop.example:80@169.254.169.254/",
    "http://169.254.169.254%2f@169.254.169.254/",
    "http://[::169.254.169.254]/",
    "http://[0:0:0:0:0:ffff:169.254.169.254]/",
    "http://[2001:0:a9fe:a9fe::1]/",
    "http://[2001:0:1:2:3:4:5601:5601]/",
    "http://[2002:6464:64c8::1]/",
    "http://[64:ff9b::a83f:8110]/",
    "http://[::ffff:192.0.0.192]/",
    "http://[fd00:c1::a9fe:a9fe]/",
    "http://[fd20:ce::254]/",
    "http://[fe80::1%25eth0]/",
    "http://[fe80::a9fe:a9fe]/",
    "http://1684301000/",
    "http://0x64.0x64.0x64.0xc8/",
    "http://0144.0144.0144.0310/",
]
REACHABLE = [
    "http://127.0.0.1/",
    "http://10.0.0.1/",
    "http://192.168.1.1/",
    "http://[::1]/",
    "http://[fd00::1]/",
    "http://100.64.0.1/",
    "http://169.253.255.255/",
    "http://169.255.0.1/",
    "http://93.184.216.34/",
    "http://[2606:2800:220:1::1]/",
]


@pytest.mark.parametrize("url", BLOCKED)
def test_metadata_is_blocked_in_every_spelling(url: str) -> None:
    address = literal_address(read_url(url).host)
    assert address is not None
    assert blocked(address)


@pytest.mark.parametrize("url", REACHABLE)
def test_private_and_public_addresses_are_reachable(url: str) -> None:
    address = literal_address(read_url(url).host)
    assert address is not None
    assert not blocked(address)


PUBLIC = ["93.184.216.34", "2606:2800:220:1::1", "8.8.8.8", "100.128.0.1", "172.32.0.1", "192.0.1.1"]
NOT_PUBLIC = [
    "0.0.0.0", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254", "168.63.129.16",
    "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.168.0.1", "198.18.0.1", "198.19.255.255",
    "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "::127.0.0.1", "::ffff:10.0.0.1", "fc00::1", "fd00::1",
    "fe80::1", "ff02::1", "64:ff9b::a00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1", "2002:a00:1::1",
    "2002:a9fe:a9fe::1", "2001:0:a00:1::1", "fd00:ec2::254",
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_what_is_not_the_public_internet_is_not_public(address: str) -> None:
    assert not is_public(address)


def test_blocked_address_is_allowed_where_it_is_named_exactly() -> None:
    named = ("169.254.169.254",)
    check_addresses("169.254.169.254", ["169.254.169.254"], named)
    check_addresses("metadata.example", ["169.254.169.254"], named)
    for other in ("169.254.169.253", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "fe80::1"):
        with pytest.raises(Failure):
            check_addresses("metadata.example", [other], named)


def test_one_bad_address_blocks_all() -> None:
    with pytest.raises(Failure) as caught:
        check_addresses("rebind.example", ["93.184.216.34", "169.254.169.254"])
    assert caught.value.reason is Reason.SSRF_BLOCKED
    assert "rebind.example (169.254.169.254)" in caught.value.message


@pytest.mark.parametrize(
    "url",
    [
        "ftp://shop.example/",
        "file:///etc/passwd",
        "//shop.example/",
        "shop.example",
        "http://",
        "http:///path",
        "http://shop example/",
        "http://shop.example:99999/",
        "http://shop.example\\@169.254.169.254/",
        "http://shop.example\r\nX-Evil: 1/",
        "http://shop.example/\x00",
        "http://[::1/",
        "http://-.example/",
        "gopher://127.0.0.1:6379/_FLUSHALL",
        "http://ann%0d%0aX-Evil:1@shop.example/",
        "http://ann:pw%0a@shop.example/",
    ],
)
def test_urls_that_are_none_are_refused(url: str) -> None:
    with pytest.raises(UrlError):
        read_url(url)


@pytest.mark.parametrize(
    "url",
    ["http://ann:C4nary/x@shop.example/", "http://ann:C4nary\u2100@shop.example/", "http://ann:C4nary[@shop.example/"],
    ids=["slash", "compatibility", "bracket"],
)
def test_what_is_wrong_with_a_url_is_said_without_its_password(url: str) -> None:
    with pytest.raises(UrlError) as caught:
        read_url(url)
    assert "C4nary" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("HTTP://Shop.Example", "http://shop.example/"),
        ("http://shop.example:80/a?b=c#d", "http://shop.example/a?b=c"),
        ("https://shop.example:8443", "https://shop.example:8443/"),
        ("https://ann:pw@shop.example/x", "https://shop.example/x"),
        ("http://bücher.example/ä b", "http://xn--bcher-kva.example/%C3%A4%20b"),
        ("http://[::0001]:81/", "http://[::1]:81/"),
        ("http://a_b.example/%20", "http://a_b.example/%20"),
    ],
)
def test_urls_are_put_together_in_one_way(url: str, plain: str) -> None:
    assert str(read_url(url)) == plain


def test_credentials_are_taken_out_of_the_url() -> None:
    url = read_url("https://ann%40x:p%3Aw@shop.example/")
    assert (url.username, url.password) == ("ann@x", "p:w")


def test_redirect_target_is_joined() -> None:
    url = read_url("https://shop.example/a/b?c")
    assert str(url.join("../d")) == "https://shop.example/d"
    assert str(url.join("//other.example/x")) == "https://other.example/x"
    with pytest.raises(UrlError):
        url.join("javascript:alert(1)")


def test_host_without_letters_is_refused() -> None:
    with pytest.raises(UrlError):
        ascii_host("xn--\ufffd")
