"""URLs that actions are posted to: aiohttp can request every URL that is accepted."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from yarl import URL

from pipeline.config.urls import url_problem

GOOD_URLS = (
    "http://localhost:8790/email",
    "https://hooks.example.com",
    "https://hooks.example.com./in?x=1",
    "http://[::1]:8080/x",
    "http://[2001:db8::7]/x",
    "http://192.0.2.7:1/x",
    "https://münchen.example/x",
    "https://xn--mnchen-3ya.example:65535/",
    "http://my_service:80/hook",
    "HTTPS://HOOKS.EXAMPLE.COM/",
)
BAD_URLS = (
    "",
    "http://",
    "http:///x",
    "http://[::1",
    "http://[::1]x/",
    "http://[1.2.3.4]/",
    "http://[fe80::1%25eth0]/",
    "http://::1/",
    "http://host:0/",
    "http://host:/",
    "http://host:99999/",
    "http://host:-1/",
    "http://host:eighty/",
    "http://host:٨٠/",
    "http://user@host/",
    "http://user:password@host/",
    "http://@host/",
    "http://host/a b",
    "http://host/\n",
    "http://ho\\st/",
    "http://.host/",
    "http://host..com/",
    "http://-host/",
    "http://host-/",
    "http://" + "a" * 64 + ".example/",
    "http://" + ".".join(["a" * 60] * 5) + "/",
    "http://300.1.1.1/",
    "http://1.2.3/",
    "http://\u2488com/",
    "http://0\xad/",
    "http://hooks\u200b.example.com/",
    "http://hooks\ufe0f.example.com/",
    "http://\u2060hooks.example.com/",
    "http://host/#part",
    "ftp://host/",
    "//host/",
    "host/path",
    "http:host",
    "http://host/" + "a" * 2048,
)


@pytest.mark.parametrize("url", GOOD_URLS)
def test_usable_urls_pass(url: str) -> None:
    assert url_problem(url) is None


@pytest.mark.parametrize("url", BAD_URLS)
def test_unusable_urls_are_refused_with_a_reason(url: str) -> None:
    assert url_problem(url)


@pytest.mark.parametrize("url", BAD_URLS)
def test_reason_repeats_no_part_of_the_url(url: str) -> None:
    private_url = url.replace("host", "hunter2").replace("com", "hunter2")
    assert "hunter2" not in (url_problem(private_url) or "")


@example("[::1]:80")
@example("0\xad")
@given(st.text(st.sampled_from("ab1.:[]@%-_/?#\\é٣ "), max_size=20) | st.text(max_size=20))
def test_accepted_urls_have_a_host_and_a_port_for_the_client(address: str) -> None:
    if url_problem(f"http://{address}") is None:
        url = URL(f"http://{address}")
        assert url.raw_host
        assert url.port
        assert 1 <= url.port <= 65_535
