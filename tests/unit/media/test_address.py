"""Which addresses are public, how URLs are read, and what messages may say of them."""

import ipaddress
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talkhead.errors import Code, TalkheadError
from talkhead.media.address import is_listed, is_public, parse_entry, parse_url, shown

PUBLIC = [
    "1.1.1.1", "8.8.8.8", "93.184.216.34", "100.63.255.255", "100.128.0.1", "172.15.0.1",
    "172.32.0.1", "192.0.1.1", "192.88.98.1", "198.17.0.1", "198.20.0.1", "223.255.255.255",
    "2606:4700::1111", "2a00:1450:4001::1", "2400:cb00::1", "2001:200::1", "2001:4860:4860::8888",
]  # fmt: skip
NOT_PUBLIC = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1",
    "127.255.255.254", "168.63.129.16", "169.254.169.254", "172.16.0.1", "172.31.255.255",
    "192.0.0.1", "192.0.0.8", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.1",
    "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255",
    "240.0.0.1", "255.255.255.255",
    "::", "::1", "::8.8.8.8", "::ffff:8.8.8.8", "::ffff:127.0.0.1", "::ffff:0:127.0.0.1",
    "64:ff9b::8.8.8.8", "64:ff9b::127.0.0.1", "64:ff9b:1::1", "100::1", "100:0:0:1::1",
    "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:2::1", "2001:10::1", "2001:20::1",
    "2001:db8::1", "2002:7f00:1::", "2002:808:808::1", "3fff::1", "3fff:fff::1", "5f00::1",
    "4000::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "2606:4700::1%eth0",
    "fec0::1", "ff02::1", "ff0e::1",
]  # fmt: skip


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_addresses_that_are_not(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))


@given(st.ip_addresses())
def test_never_wider_than_the_standard_library(ip: ipaddress.IPv4Address) -> None:
    assert ip.is_global or not is_public(ip)
    assert not (is_public(ip) and (ip.is_multicast or ip.is_reserved or ip.is_link_local))


@given(st.ip_addresses(v=4))
def test_no_ipv4_address_in_disguise(ip: ipaddress.IPv4Address) -> None:
    number = int(ip)
    for high in ("::", "::ffff:0:0", "64:ff9b::", "2001::"):
        assert not is_public(ipaddress.IPv6Address(int(ipaddress.IPv6Address(high)) + number))
    assert not is_public(ipaddress.IPv6Address((0x2002 << 112) + (number << 80)))


@pytest.mark.parametrize(
    ("text", "host", "port", "target"),
    [
        ("https://Example.COM", "example.com", 443, "/"),
        ("HTTPS://example.com./a", "example.com", 443, "/a"),
        ("http://example.com?x=1", "example.com", 80, "/?x=1"),
        ("https://example.com:8443/a/../b#part", "example.com", 8443, "/a/../b"),
        ("https://example.com/é?q=ü&sig=a%2Bb/c+d=", "example.com", 443,
         "/%C3%A9?q=%C3%BC&sig=a%2Bb/c+d="),
        ("https://example.com/100%", "example.com", 443, "/100%25"),
        ("https://bücher.example/", "xn--bcher-kva.example", 443, "/"),
        ("https://straße.example/", "xn--strae-oqa.example", 443, "/"),
        ("https://minio_1:9000/b", "minio_1", 9000, "/b"),
        ("https://8.8.8.8/", "8.8.8.8", 443, "/"),
        ("https://[2606:4700:0::1]:1/", "2606:4700::1", 1, "/"),
        ("https://[::ffff:127.0.0.1]/", "::ffff:7f00:1", 443, "/"),
        ("https://１２７.0.0.1/", "127.0.0.1", 443, "/"),
        ("https://a。b/", "a.b", 443, "/"),
        ("https://a/x@y:z", "a", 443, "/x@y:z"),
    ],
)  # fmt: skip
def test_urls_are_read(text: str, host: str, port: int, target: str) -> None:
    url = parse_url(text)
    assert (url.host, url.port, url.target) == (host, port, target)


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("https://a:443/", "a"),
        ("https://a:80/", "a:80"),
        ("http://[::1]:80/", "[::1]"),
        ("https://[::1]:1/", "[::1]:1"),
    ],
)
def test_the_host_header(text: str, header: str) -> None:
    assert parse_url(text).authority == header


@pytest.mark.parametrize(
    "text",
    [
        "https:", "https://", "https:///a", "https:/a", "https:a", "//a/", "a", "ftp://a/",
        "file:///a", "https://a b/", "https://a/b c", "https://a\t/", "https://a/\r\nX: y",
        "https://a/\n", " https://a/", "https://a\\@b/", "https:\\\\a/", "https://a/\x00",
        "https://a/\u2028", "https://u@a/", "https://u:p@a/", "https://@a/", "https://a@b@c/",
        "https://a:0/", "https://a:65536/", "https://a:/", "https://a:x/", "https://a:-1/",
        "https://a:+1/", "https://a:٣/", "https://a:1:2/", "https://a:000001/",
        "https://2130706433/", "https://0x7f000001/", "https://0x7f.1/", "https://127.1/",
        "https://127.0.1/", "https://0177.0.0.1/", "https://017700000001/", "https://1.2.3.256/",
        "https://127.0.0.0x1/", "https://0/", "https://0x/", "https://1.2.3.4.5/", "https://a.1/",
        "https://127.0.0.1../", "https://.a/", "https://a..b/", "https://./", "https://-a/",
        "https://a%2eb/", "https://%31/", "https://a%00/", "https://[::1/", "https://::1/",
        "https://[]/", "https://[fe80::1%25eth0]/", "https://[fe80::1%eth0]/", "https://[::1]a/",
        "https://[127.0.0.1]/", "https://[v1.a]/", "https://[::1]:/", "https://a[b]/",
        "https://a*b/", "https://a!/", "https://a,b/", "https://a|b/", "https://xn--/",
        "https://\u202e/", "https://\u200b/", "https://" + "a" * 64 + "/",
        "https://" + ".".join(["a" * 60] * 5) + "/", "https://a/" + "b" * 9000, "https://\ud800/",
        "https://a/\ud800",
    ],
)  # fmt: skip
def test_doubtful_urls_are_refused(text: str) -> None:
    with pytest.raises(TalkheadError) as caught:
        parse_url(text)
    assert caught.value.code is Code.INPUT
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 200


@given(st.text(alphabet=st.sampled_from("htps:/@[]%.#?\\127x0aé\n "), max_size=30))
def test_whatever_is_read_is_plain(tail: str) -> None:
    try:
        url = parse_url(f"https://{tail}")
    except TalkheadError as error:
        assert error.code is Code.INPUT
        return
    assert set(url.host) <= set(string.ascii_lowercase + string.digits + ".-_:")
    assert url.target.isascii()
    assert url.target.isprintable()
    assert " " not in url.target
    assert url.target.startswith("/")


@pytest.mark.parametrize(
    ("entry", "url", "listed"),
    [
        ("minio", "http://minio:9000/a", True),
        ("MINIO.", "http://minio:9000/a", True),
        ("minio:9000", "http://minio:9000/a", True),
        ("minio:9000", "http://minio:9001/a", False),
        ("minio", "http://a.minio/", False),
        ("minio", "http://minio.a/", False),
        ("10.0.0.1", "http://10.0.0.1/", True),
        ("::1", "http://[0:0::1]:9/", True),
        ("[::1]:9", "http://[::1]:9/", True),
        ("[::1]:9", "http://[::1]/", False),
        ("[::1]", "http://[::1]/", True),
    ],
)
def test_the_operators_list(entry: str, url: str, listed: bool) -> None:
    assert is_listed(parse_url(url), [parse_entry(entry)]) is listed


@pytest.mark.parametrize(
    ("ref", "said"),
    [
        ("https://a.test/secret?secret#secret", "https://a.test/…"),
        ("HTTPS://u:secret@a.test:1/secret", "https://a.test:1/…"),
        ("https://a.test?secret", "https://a.test/…"),
        ("https://a.test\\secret", "https://a.test/…"),
        (" https://u:secret@secret@a.test/", "https://a.test/…"),
        ("https:secret", "https:…"),
        ("https:/a/secret", "https:…"),
        ("ftp://u:secret@a.test/secret", "ftp://a.test/…"),
        ("DATA:secret", "data:…"),
        (" data:secret", "data:…"),
        ("volume:a/b.png", "volume:a/b.png"),
        ("store:a\r\nb\x1b", "store:a\\r\\nb\\x1b"),
        ("library:" + "a" * 500, "library:" + "a" * 91 + "…"),
        ("https://" + "a" * 500, "https://" + "a" * 99 + "…/…"),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_is_shown(ref: str, said: str) -> None:
    assert shown(ref) == said


@given(st.text(max_size=300))
def test_what_is_shown_is_short_and_printable(ref: str) -> None:
    assert shown(ref).isprintable()
    assert len(shown(ref)) < 150
