"""Secrets go to whom they belong to, and nowhere else: no redirect, no realm, no message has them."""

from __future__ import annotations

import base64
import json
import logging
import subprocess
import traceback
from typing import TYPE_CHECKING

import pytest
from stub_registry import LAYER, about, stub_registry

from prun.errors import InvalidArgument, PermissionDenied, PrunError, ResourceExhausted, Unavailable
from prun.image.registry.auth import Login
from prun.image.registry.trust import is_loopback, proxy_for, tls_context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from stub_registry import Handler, Stub

    from prun.image.registry.client import Registry

    Client = Callable[..., Registry]

SECRET = "s3cret-word"
LOGIN = Login("me", SECRET)
BASIC = "Basic " + base64.b64encode(f"me:{SECRET}".encode()).decode()


@pytest.fixture
def other() -> Iterator[Stub]:
    with stub_registry() as made:
        yield made


def wants_basic(asked: Handler) -> bool:
    """Refuse who does not send the password."""
    if asked.headers.get("Authorization") == BASIC:
        return False
    return asked.answer(401, b"{}", {"WWW-Authenticate": 'Basic realm="x"'})


def wants_token(realm: str, **more: str) -> Callable[[Handler], bool]:
    words = "".join(f',{key}="{value}"' for key, value in {"service": "x", **more}.items())

    def lie(asked: Handler) -> bool:
        if asked.path.startswith("/token") or asked.headers.get("Authorization") == "Bearer good":
            return False
        return asked.answer(401, b"{}", {"WWW-Authenticate": f'Bearer realm="{realm}"{words}'})

    return lie


def gives(document: object) -> Callable[[Handler], bool]:
    return about("/token", lambda asked: asked.answer(200, json.dumps(document).encode()))


def said(error: BaseException) -> str:
    """All that --debug would print."""
    return "".join(traceback.format_exception(error)) + str(getattr(error, "hint", ""))


def test_a_password_does_not_follow_a_redirect(stub: Stub, other: Stub, client: Client) -> None:
    stub.put_image("1", [LAYER])
    digest = json.loads(stub.manifests["1"][1])["layers"][0]["digest"]
    other.blobs[digest] = stub.blobs[digest]
    stub.lies += [
        wants_basic,
        about(
            "/blobs/", lambda asked: asked.answer(307, b"", {"Location": f"http://{other.netloc}{asked.path}?sig=x"})
        ),
    ]
    answer = client(stub, LOGIN).blob(digest)
    assert b"".join(answer.chunks()) == stub.blobs[digest]
    assert BASIC in stub.headers("Authorization")
    assert other.headers("Authorization") == []
    assert len(other.asked) == 1


def test_nor_does_it_come_back(stub: Stub, other: Stub, client: Client) -> None:
    """Whoever we are sent to could name what of the registry we ask for with our password."""
    back = f"http://{stub.netloc}/v2/team/app/blobs/back"
    other.lies.append(lambda asked: asked.answer(302, b"", {"Location": back}))
    stub.lies.append(about("back", lambda asked: asked.answer(404)))
    stub.lies.append(wants_basic)
    stub.lies.append(lambda asked: asked.answer(302, b"", {"Location": f"http://{other.netloc}/"}))
    with pytest.raises(PrunError):
        client(stub, LOGIN).blob("sha256:" + "0" * 64)
    assert [asked.headers.get("Authorization") for asked in stub.asked if "back" in asked.path] == [None]


def test_a_challenge_of_whom_we_were_sent_to_is_not_answered(stub: Stub, other: Stub, client: Client) -> None:
    """CVE-2020-15157."""
    other.lies.append(lambda asked: asked.answer(401, b"{}", {"WWW-Authenticate": 'Basic realm="gimme"'}))
    stub.lies.append(lambda asked: asked.answer(302, b"", {"Location": f"http://{other.netloc}/"}))
    with pytest.raises(PermissionDenied):
        client(stub, LOGIN).blob("sha256:" + "0" * 64)
    assert other.headers("Authorization") == []


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://x/", "http://[", "http://me:word@127.0.0.1/",
        "http://169.254.169.254/latest/meta-data", "http://192.0.2.1/x",
    ],
)  # fmt: skip
def test_we_are_not_sent_everywhere(stub: Stub, client: Client, location: str) -> None:
    stub.lies.append(lambda asked: asked.answer(302, b"", {"Location": location}))
    with pytest.raises(PermissionDenied):
        client(stub, LOGIN).blob("sha256:" + "0" * 64)


def test_a_redirect_in_a_circle_ends(stub: Stub, client: Client) -> None:
    stub.lies.append(lambda asked: asked.answer(302, b"", {"Location": asked.path}))
    with pytest.raises(Unavailable, match="more than 10 times"):
        client(stub).blob("sha256:" + "0" * 64)
    assert len(stub.paths()) == 11


def test_a_registry_elsewhere_cannot_send_us_to_this_machine(stub: Stub, client: Client) -> None:
    transport = client(stub).transport
    for location in ("https://127.0.0.1/x", "https://localhost:1/x", "https://[::1]/", "https://169.254.169.254/"):
        with pytest.raises(PermissionDenied):
            transport.led_to("https://registry.example/v2/x", location)
    with pytest.raises(PermissionDenied, match="not encrypted"):
        transport.led_to("https://registry.example/v2/x", "http://registry.example/v2/x")
    assert transport.led_to("https://registry.example/v2/x", "y") == "https://registry.example/v2/y"


def test_a_token_is_got_and_used(stub: Stub, client: Client) -> None:
    stub.put_image("1", [LAYER])
    stub.lies += [wants_token(f"http://{stub.netloc}/token"), gives({"token": "good", "expires_in": 300})]
    registry = client(stub, LOGIN)
    registry.manifest("1")
    registry.manifest("1")
    tokens = [asked for asked in stub.asked if asked.path.startswith("/token")]
    assert [asked.headers["Authorization"] for asked in tokens] == [BASIC]
    assert "scope=repository%3Ateam%2Fapp%3Apull&" in tokens[0].path
    assert {asked.headers.get("Authorization") for asked in stub.asked if "/manifests/" in asked.path} == {
        None, "Bearer good",
    }  # fmt: skip


@pytest.mark.parametrize(
    "realm", ["http://auth.example/token", "ftp://x/token", "file:///etc/passwd", "", "http://169.254.169.254/"]
)
def test_a_realm_that_must_not_have_the_password_gets_nothing(stub: Stub, client: Client, realm: str) -> None:
    stub.lies.append(wants_token(realm))
    with pytest.raises(PermissionDenied):
        client(stub, LOGIN).manifest("1")


def test_a_realm_that_redirects_takes_no_password_along(stub: Stub, other: Stub, client: Client) -> None:
    stub.put_image("1", [LAYER])
    stub.lies.append(wants_token(f"http://{stub.netloc}/token"))
    stub.lies.append(
        about("/token", lambda asked: asked.answer(302, b"", {"Location": f"http://{other.netloc}/token"}))
    )
    other.lies.append(gives({"token": "good"}))
    client(stub, LOGIN).manifest("1")
    assert other.headers("Authorization") == []
    assert len(other.asked) == 1


NO_TOKENS: dict[str, object] = {
    "none": {}, "empty": {"token": ""}, "number": {"token": 7}, "two lines": {"token": "two\r\nHost: x"},
    "not ASCII": {"token": "ü"}, "list": [], "string": "token", "too long": {"token": "a" * (2 << 20)},
}  # fmt: skip


@pytest.mark.parametrize("document", NO_TOKENS.values(), ids=NO_TOKENS)
def test_a_token_that_is_none_is_an_error(stub: Stub, client: Client, document: object) -> None:
    stub.lies += [wants_token(f"http://{stub.netloc}/token"), gives(document)]
    with pytest.raises((PermissionDenied, InvalidArgument, ResourceExhausted)):
        client(stub, LOGIN).manifest("1")


def test_a_token_that_is_refused_is_not_asked_for_for_ever(stub: Stub, client: Client) -> None:
    stub.lies += [wants_token(f"http://{stub.netloc}/token"), gives({"token": "bad"})]
    with pytest.raises(PermissionDenied):
        client(stub, LOGIN).manifest("1")
    assert len(stub.asked) < 6


def test_no_message_and_no_log_has_a_secret(
    stub: Stub, other: Stub, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """A registry that repeats what it was sent, and storage whose URL is as good as a password."""
    caplog.set_level(logging.DEBUG)
    echo = lambda asked: asked.answer(  # noqa: E731
        403, json.dumps({"errors": [{"code": "DENIED", "message": str(asked.headers)}]}).encode()
    )
    signed = f"http://{other.netloc}/storage?signature=TOPSECRET"
    other.lies.append(lambda asked: asked.break_off(200, b"x", 100))
    stub.lies += [
        wants_basic,
        about("/manifests/", echo),
        about("/blobs/", lambda asked: asked.answer(302, b"", {"Location": signed})),
    ]
    registry = client(stub, LOGIN)
    with pytest.raises(PermissionDenied) as caught:
        registry.manifest("1")
    assert "DENIED" in str(caught.value)
    words = said(caught.value) + repr(LOGIN)
    answer = registry.blob("sha256:" + "0" * 64)
    with pytest.raises(Unavailable) as broken:
        list(answer.chunks())
    words += said(broken.value) + caplog.text
    for secret in (SECRET, BASIC.partition(" ")[2], "TOPSECRET"):
        assert secret not in words


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    directory = tmp_path_factory.mktemp("pair")
    public, key = directory / "ca.crt", directory / "ca.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-keyout", str(key), "-out",
         str(public), "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    return public, key


def test_a_certificate_that_nobody_vouches_for(client: Client, pair: tuple[Path, Path], tmp_path: Path) -> None:
    with stub_registry(pair) as stub:
        stub.put_image("1", [LAYER])
        with pytest.raises(Unavailable, match="certificate is not trusted") as caught:
            client(stub, LOGIN).manifest("1")
        assert "certs.d" in caught.value.hint
        assert stub.asked == []
        trusted = tmp_path / "certificates"
        trusted.mkdir()
        (trusted / "ca.crt").write_bytes(pair[0].read_bytes())
        assert client(stub, cert_dir=str(trusted)).manifest("1")
        assert client(stub, insecure=True).manifest("1")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"ca.crt": b"no certificate"}, "cannot be used"),
        ({"client.cert": b"x"}, "has no key"),
        ({"client.cert": b"x", "client.key": b"x"}, "cannot be used"),
    ],
)
def test_certificates_that_are_none(tmp_path: Path, files: dict[str, bytes], words: str) -> None:
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(InvalidArgument, match=words):
        tls_context("registry.example", str(tmp_path))


def test_plain_http_is_for_this_machine_or_where_it_is_allowed(stub: Stub, client: Client) -> None:
    stub.put_image("1", [LAYER])
    assert client(stub).manifest("1")
    registry = client(stub)
    port = stub.netloc.partition(":")[2]
    registry.endpoint = registry.endpoint._replace(host=f"0x7f000001:{port}")  # the same, not known to be
    with pytest.raises(Unavailable, match="does not speak TLS") as caught:
        registry.manifest("1")
    assert "insecure" in caught.value.hint
    registry = client(stub)
    registry.endpoint = registry.endpoint._replace(host=f"0x7f000001:{port}", insecure=True)
    assert registry.manifest("1")


@pytest.mark.parametrize("host", ["localhost", "a.localhost", "127.0.0.1", "127.9.9.9", "[::1]", "LOCALHOST."])
def test_this_machine_is_known_by_its_name(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["localhost.example", "127.0.0.1.example", "10.0.0.1", "0x7f000001", ""])
def test_others_are_not_this_machine(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("url", "none", "proxy"),
    [
        ("https://registry.example/x", "", "http://proxy.example:1"),
        ("http://registry.example/x", "", "http://plain.example:2"),
        ("https://127.0.0.1/", "", ""),
        ("https://registry.example/x", "example", ""),
        ("https://registry.example/x", ".example", ""),
        ("https://registry.example/x", "*", ""),
        ("https://registry.example:5000/x", "registry.example:5000", ""),
        ("https://registry.example/x", "gistry.example", "http://proxy.example:1"),
        ("https://10.1.2.3/", "192.168.0.0/16, 10.0.0.0/8", ""),
        ("https://10.1.2.3/", "nonsense/99", "http://proxy.example:1"),
    ],
)
def test_the_way_that_the_environment_names(monkeypatch: pytest.MonkeyPatch, url: str, none: str, proxy: str) -> None:
    monkeypatch.setenv("https_proxy", "proxy.example:1")
    monkeypatch.setenv("HTTP_PROXY", "http://plain.example:2")
    monkeypatch.setenv("NO_PROXY", none)
    assert proxy_for(url) == proxy


def test_a_proxy_is_used_and_its_password_is_kept(stub: Stub, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stub is the proxy: it is asked to open a tunnel, and refuses."""
    stub.lies.append(lambda asked: asked.answer(407))
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:{SECRET}@{stub.netloc}")
    registry = client(stub)
    registry.endpoint = registry.endpoint._replace(host="registry.example")
    with pytest.raises(PrunError, match="proxy") as caught:
        registry.manifest("1")
    assert SECRET not in said(caught.value)
    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:1")
    with pytest.raises(InvalidArgument, match="no HTTP proxy"):
        registry.manifest("1")
