"""A registry that demands a certificate of ours: certs.d's client.cert and client.key, and every way to lack them."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from command import bad, good
from debian_registry import debian_registry, make_certificate, make_client_certificate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from command import Prun
    from debian_registry import Certificate, DebianRegistry

pytestmark = pytest.mark.usefixtures("own_logins")


@pytest.fixture(scope="module")
def demanding(tmp_path_factory: pytest.TempPathFactory, certificate: Certificate) -> Iterator[DebianRegistry]:
    path = tmp_path_factory.mktemp("demanding")
    with debian_registry(path, certificate=certificate, clients=certificate.authority) as made:
        yield made


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory, certificate: Certificate) -> Path:
    """A directory with what certs.d wants."""
    path = tmp_path_factory.mktemp("ours")
    make_client_certificate(path, certificate)
    (path / "ca.crt").write_bytes(certificate.authority.read_bytes())
    return path


@pytest.fixture
def prun(new_prun: Callable[[], Prun], archive: Path) -> Prun:
    made = new_prun()
    good(made("load", "--tag", "busybox", str(archive)))
    return made


def test_with_it_everything_works(prun: Prun, demanding: DebianRegistry, ours: Path, tmp_path: Path) -> None:
    name = f"{demanding.netloc}/team/app:1"
    good(prun("push", "-q", "--cert-dir", str(ours), "busybox", name))
    by_host = tmp_path / "xdg_config_home" / "containers" / "certs.d" / demanding.netloc
    shutil.copytree(ours, by_host)
    good(prun("pull", "-q", name))
    assert good(prun("tags", "--format", "{{.Tag}}", name)) == "1\n"
    good(prun("rmi", name))
    assert good(prun("run", "--rm", "-q", name, "echo", "hi")) == "hi\n"
    assert good(prun("login", "-u", "me", "--password-stdin", demanding.netloc, stdin=b"x")) == "Login Succeeded\n"


def _no_key(path: Path, other: Path) -> None:
    (path / "client.key").unlink()


def _nothing(path: Path, other: Path) -> None:
    (path / "client.key").unlink()
    (path / "client.cert").unlink()


def _of_others(path: Path, other: Path) -> None:
    shutil.copy(other / "client.key", path / "client.key")
    shutil.copy(other / "client.cert", path / "client.cert")


def _key_of_another(path: Path, other: Path) -> None:
    shutil.copy(other / "client.key", path / "client.key")


def _writable_key(path: Path, other: Path) -> None:
    (path / "client.key").chmod(0o666)


def _no_authority(path: Path, other: Path) -> None:
    (path / "ca.crt").unlink()


ERRORS = {
    _nothing: "wants a certificate of ours that it trusts (put it at /etc/containers/certs.d/{host}/client.cert, and "
    "its key at client.key)",
    _of_others: "wants a certificate of ours that it trusts",
    _no_key: "has no key (put it at {path}/client.key)",
    _key_of_another: "client.cert cannot be used: [X509: KEY_VALUES_MISMATCH]",
    _writable_key: "may be changed by others",
    _no_authority: "its certificate is not trusted",
}


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("others")
    make_client_certificate(path, make_certificate(path))
    return path


@pytest.mark.parametrize("spoil", ERRORS, ids=lambda spoil: spoil.__name__)
def test_without_it_the_error_says_what_is_wrong(
    prun: Prun, demanding: DebianRegistry, ours: Path, others: Path, tmp_path: Path, spoil: Callable[[Path, Path], None]
) -> None:
    path = tmp_path / "certificates"
    shutil.copytree(ours, path)
    spoil(path, others)
    for words in (["pull", f"{demanding.netloc}/x"], ["push", "busybox", f"{demanding.netloc}/x"]):
        error = bad(prun(words[0], "--cert-dir", str(path), *words[1:]))
        assert ERRORS[spoil].format(host=demanding.netloc, path=path) in error
        assert "PRIVATE KEY" not in error
