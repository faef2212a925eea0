"""A real Debian image, made by debootstrap and umoci: loaded and run."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from attack import PREPARE
from debian_image import CAPABLE, TAG, debian_oci_layout

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Prun

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def debian(new_prun: Callable[[], Prun]) -> Prun:
    prun = new_prun()
    loaded = prun("load", "--tag", "debian", f"oci:{debian_oci_layout()}:{TAG}", timeout=300)
    assert loaded.returncode == 0, loaded.stderr
    return prun


def test_it_says_what_it_is(debian: Prun) -> None:
    done = debian("run", "--rm", "debian", "cat", "/etc/os-release")
    assert done.returncode == 0, done.stderr
    assert "ID=debian" in done.stdout or "ID=ubuntu" in done.stdout


def test_its_layers_are_one_tree(debian: Prun) -> None:
    """A whiteout, an opaque directory, a changed directory, a hard link between layers' files."""
    script = (
        "ls /usr/share/doc/tar 2>&1; ls -A /etc/skel; stat -c %a /srv; stat -c %h /srv/note; cat /srv/the-same-note"
    )
    done = debian("run", "--rm", "debian", "sh", "-c", script)
    lines = done.stdout.splitlines()
    assert "No such file" in lines[0]
    assert lines[1:] == [".profile", "750", "2", "changed"]


def test_a_setuid_program_gets_its_owner_where_that_is_allowed(debian: Prun) -> None:
    """The seed's no_new_privileges (S13) is what keeps it from that by default."""
    program = "cp /usr/bin/id /tmp/suid && chmod 4755 /tmp/suid && setpriv --reuid 1000 --clear-groups /tmp/suid -u"
    allowed = debian("run", "--rm", "--security-opt", "no-new-privileges=false", "debian", "sh", "-c", program)
    assert (allowed.returncode, allowed.stdout) == (0, "0\n"), allowed.stderr
    assert debian("run", "--rm", "debian", "sh", "-c", program).stdout == "1000\n"


def test_a_setuid_program_of_the_image_works(debian: Prun) -> None:
    words = ["--security-opt", "no-new-privileges=false", "-u", "nobody"]
    done = debian("run", "--rm", *words, "debian", "sh", "-c", "stat -c %a /usr/bin/su; grep CapBnd /proc/self/status")
    assert done.stdout.splitlines()[0] == "4755"
    done = debian("run", "--rm", *words, "debian", "newgrp", "-")
    assert done.returncode in (0, 1), done.stderr
    done = debian("run", "--rm", *words, "debian", "passwd", "--status", "nobody")
    assert (done.returncode, done.stdout.split()[:1]) == (0, ["nobody"]), done.stderr


def test_a_file_has_its_capabilities(debian: Prun) -> None:
    done = debian("run", "--rm", "debian", "getcap", CAPABLE)
    assert done.stdout.split() == [CAPABLE, "cap_net_bind_service,cap_net_raw=ep"]


def test_a_package_is_installed_in_it(debian: Prun) -> None:
    done = debian("run", "--rm", "debian", "sh", "-c", "dpkg --audit; dpkg-query -W -f '${Status}' libcap2-bin")
    assert done.stdout == "install ok installed", done.stderr


# Names and numbers of system calls that the profile forbids without a capability, or does not know; with EPERM, ENOSYS.
FORBIDDEN = {
    "x86_64": {"bpf": 321, "kexec_load": 246, "init_module": 175, "open_by_handle_at": 304, "perf_event_open": 298,
               "userfaultfd": 323, "add_key": 248, "request_key": 249, "io_uring_setup": 425},
    "aarch64": {"bpf": 280, "kexec_load": 104, "init_module": 105, "open_by_handle_at": 265, "perf_event_open": 241,
                "userfaultfd": 282, "add_key": 217, "request_key": 218, "io_uring_setup": 425},
}  # fmt: skip
KEYCTL = {"x86_64": 250, "aarch64": 219}


def perl(binary: str, prun: Prun, script: str) -> str:
    words = ["run", "--rm", "--opt", f"binary={binary}", "debian", "perl", "-e", script]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", PREPARE, "sh", "/etc", binary, *prun.words, *words],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_system_calls_that_reach_the_kernel_itself_are_refused_to_root(debian: Prun, binary: str) -> None:
    calls = FORBIDDEN[os.uname().machine]
    script = "".join(f"$! = 0; syscall({number}, 0, 0, 0, 0, 0); print '{name} ', $! + 0, qq(\n);"
                     for name, number in calls.items())  # fmt: skip
    answers = dict(line.split() for line in perl(binary, debian, script).splitlines())
    assert answers.keys() == calls.keys()
    assert set(answers.values()) <= {str(errno.EPERM), str(errno.ENOSYS)}, answers


def test_a_container_has_not_the_session_keyring_of_who_runs_it(debian: Prun, binary: str) -> None:
    number = KEYCTL[os.uname().machine]
    words = (number, 0, -3, 0)  # KEYCTL_GET_KEYRING_ID of KEY_SPEC_SESSION_KEYRING, which is not to be made
    ours = ctypes.CDLL(None).syscall(*words)
    script = f"print syscall({', '.join(map(str, words))});"
    first, second = (int(perl(binary, debian, script)) for _ in range(2))
    assert -1 not in (first, second)
    assert len({ours, first, second}) == 3


def test_the_unpacked_tree_is_umocis(debian: Prun, tmp_path: Path) -> None:
    """As a container sees it: every file's type, mode, owner, link target and time."""
    subprocess.run(
        ["umoci", "unpack", "--image", f"{debian_oci_layout()}:{TAG}", str(tmp_path / "bundle")],
        check=True, capture_output=True,
    )  # fmt: skip
    listing = ["find", ".", "-xdev", "-path", "./proc", "-prune", "-o", "-printf", r"%p %y %m %U:%G %l %T@\n"]
    ours = debian("run", "--rm", "debian", "sh", "-c", "cd /usr && " + " ".join(f"'{word}'" for word in listing)).stdout
    theirs = subprocess.run(listing, cwd=tmp_path / "bundle/rootfs/usr", check=True, capture_output=True, text=True)
    # The host's /etc/localtime is mounted where the image's link leads.
    assert without_zones(ours) == without_zones(theirs.stdout)
    assert len(ours.splitlines()) > 1000


def without_zones(listing: str) -> list[str]:
    return sorted(line for line in listing.splitlines() if not line.startswith("./share/zoneinfo/"))
