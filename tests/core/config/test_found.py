"""A ``prun.toml`` that prun comes upon in the directory where it is called, which may be anybody's repository."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from config_files import own, project, request, written

from prun.api import Runner
from prun.config import nearest_project, read_settings
from prun.config.faults import InvalidConfig
from prun.config.files import distrusted
from prun.config.layers import HARMLESS
from prun.config.schema import run_options
from prun.errors import FailedPrecondition, NotFound, PermissionDenied
from prun.metadata import ImageRow
from prun.state import Store

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = """\
root = "/tmp/elsewhere"
runtime = "fake"
[defaults]
privileged = true
volume = ["/:/host"]
[runtimes.linux]
binary = "./evil"
[plugins.evil]
[registries."docker.io"]
location = "evil.example/x"
[aliases]
busybox = "evil.example/busybox"
"""


def test_nothing_of_it_counts_that_was_not_asked_for_by_name(tmp_path: Path) -> None:
    project(tmp_path, HOSTILE)
    found = request(tmp_path, "busybox")
    assert found == request(tmp_path, "busybox")._replace(id=found.id)
    (tmp_path / "here/prun.toml").unlink()
    assert found == request(tmp_path, "busybox")._replace(id=found.id)
    project(tmp_path, HOSTILE)
    settings = read_settings()
    assert settings._replace(found="") == type(settings)()
    assert Runner().request("busybox").privileged is False


def test_what_it_says_of_a_run_counts_when_it_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = project(tmp_path, '[run.web]\nimage = "app"\nextends = "small"\n[profiles.small]\nmemory = "6m"\n')
    (tmp_path / "here/below").mkdir()
    os.chdir("below")
    found = request(tmp_path, "-e", "A=b", "web", "x")
    assert (found.image, found.args, found.env) == ("app", ("x",), ("A=b",))
    assert str(found.origins["memory"][0]) == f"[profiles.small] ({path}:5)"
    assert f"web is a run of {path}, which prun found by itself" in capsys.readouterr().err
    assert request(tmp_path, "--profile", "small", "debian").origins["memory"]


OPENING = {
    "annotation": '["run.oci.hooks.stdout=/etc/cron.d/x"]', "blkio_weight": "10", "blkio_weight_device": '["/dev/x:1"]',
    "cap_add": '["SYS_ADMIN"]', "cgroup_parent": '"/x"', "cgroupns": '"host"', "cidfile": '"/root/.ssh/x"',
    "device": '["/dev/sda"]', "device_cgroup_rule": '["a *:* rwm"]', "device_read_bps": '["/dev/x:1"]',
    "device_read_iops": '["/dev/x:1"]', "device_write_bps": '["/dev/x:1"]', "device_write_iops": '["/dev/x:1"]',
    "engine": '"x"', "env_file": '["/root/.netrc"]', "env_host": "true", "gidmap": '["0:0:1"]', "gpus": '"all"',
    "group_add": '["0"]', "hook": '["x.py"]', "patch": '["/a=1"]',
    "id": '"x"', "ipc": '"host"', "label_file": '["/root/.netrc"]', "log_driver": '"none"',
    "log_opt": '["path=/etc/x"]', "mount": '["type=bind,src=/,dst=/h"]', "network": '"host"',
    "oom_kill_disable": "true", "oom_score_adj": "-1000", "opt": '["binary=./evil"]', "pid": '"host"',
    "pidfile": '"/root/x"', "preserve_fds": "3", "privileged": "true", "restart": '"always"', "rootfs": '"/"',
    "runtime": '"fake"', "secret": '["token"]', "security_opt": '["seccomp=unconfined"]', "sysctl": '["net.x=1"]',
    "uidmap": '["0:0:1"]', "userns": '"host"', "uts": '"host"', "volume": '["/:/host"]', "volumes_from": '["other"]',
}  # fmt: skip


def test_every_option_either_opens_nothing_or_is_in_the_table() -> None:
    """A new option is refused in a file that was found until somebody says that it is harmless."""
    assert not HARMLESS & set(OPENING)
    assert set(OPENING) <= set(run_options())


@pytest.mark.parametrize(("option", "value"), OPENING.items())
@pytest.mark.parametrize("profile", [False, True])
def test_it_cannot_open_the_machine(tmp_path: Path, option: str, value: str, profile: bool) -> None:
    table = "[run.web]\nextends = 'p'\nimage = 'x'\n[profiles.p]\n" if profile else "[run.web]\nimage = 'x'\n"
    table = table.replace("image = 'x'\n", "") if option == "rootfs" else table
    project(tmp_path, f"{table}{option.replace('_', '-')} = {value}\n")
    with pytest.raises(InvalidConfig, match=f"a file that prun found by itself may not set {option}"):
        request(tmp_path, "web")


def test_all_that_it_may_not_is_said_at_once_and_a_named_file_may(tmp_path: Path) -> None:
    path = project(tmp_path, '[run.web]\nimage = "x"\nprivileged = true\nuser = "me"\nvolume = ["/:/host"]\n')
    with pytest.raises(InvalidConfig) as raised:
        request(tmp_path, "web")
    assert [fault.line for fault in raised.value.faults] == [3, 5]
    assert "name it with -f" in raised.value.faults[0].hint
    found = request(tmp_path, "-f", "prun.toml", "web")
    assert (found.privileged, found.volumes[0].source) == (True, "/")
    own(tmp_path, f"trust = ['{os.path.dirname(path)}/elsewhere']\n")
    with pytest.raises(InvalidConfig):
        request(tmp_path, "web")
    own(tmp_path, f"trust = ['{tmp_path}/her', '{os.path.dirname(path)}']\n[defaults]\nuser = 'other'\n")
    found = request(tmp_path, "web")
    assert (found.privileged, found.user) == (True, "me")


def test_a_trusted_file_is_read_between_the_users_and_the_named_one(tmp_path: Path) -> None:
    own(tmp_path, f"trust = '{tmp_path}'\nroot = '/a'\nstate = '/a'\nruntime = 'linux'\n")
    project(tmp_path, "root = '/b'\nstate = '/b'\n")
    settings = read_settings(written(tmp_path / "x.toml", "state = '/c'\n"))
    assert (settings.root, settings.state, settings.runtime, settings.found) == ("/b", "/c", "linux", "")


def test_a_file_cannot_trust_itself(tmp_path: Path) -> None:
    project(tmp_path, f"trust = '{tmp_path}'\nroot = '/b'\n")
    assert read_settings().root == ""


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('env = ["AWS_SECRET_ACCESS_KEY"]', "may not take variables of the host"),
        ('env = ["AWS*"]', "may not take variables of the host"),
        ('env = {A = "${AWS_SECRET_ACCESS_KEY}"}', "may not see the environment"),
        ('hostname = "${HOME:-x}"', "may not see the environment"),
        ('tmpfs = ["/x:size=${HOME}"]', "may not see the environment"),
    ],
)
def test_it_does_not_see_the_environment(tmp_path: Path, line: str, message: str) -> None:
    project(tmp_path, f'[run.web]\nimage = "x"\n{line}\n')
    with pytest.raises(InvalidConfig, match=message):
        request(tmp_path, "web")


@pytest.mark.parametrize("image", ["evil.example/${TOKEN}", "/etc", "oci:/x", "-", "${config.dir}/x.tar"])
def test_its_image_is_a_reference_without_variables(
    tmp_path: Path, image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "secret")
    project(tmp_path, f'[run.web]\nimage = "{image}"\n')
    with pytest.raises(InvalidConfig, match=r"may not (see the environment|name a place)"):
        request(tmp_path, "web")


def test_what_your_own_files_say_is_not_taken_back(tmp_path: Path) -> None:
    mine = 'cap_drop = ["ALL"]\nread_only = true\nmemory = "6m"\nuser = "nobody"\nenv = ["A=mine"]\n'
    theirs = 'unset = ["cap_drop"]\nread_only = false\nmemory = "5g"\nuser = "root"\nenv = ["A=b"]\n'
    own(tmp_path, f"[defaults]\n{mine}")
    project(tmp_path, f"[run.web]\nimage = 'x'\n{theirs}")
    found = request(tmp_path, "web")
    assert found.resources
    assert (found.cap_drop, found.readonly, found.user) == (("ALL",), True, "nobody")
    assert found.resources.memory_bytes == 6 << 20
    assert found.env[-1] == "A=mine"


def test_a_name_that_is_in_a_file_of_yours_too_is_not_guessed(tmp_path: Path) -> None:
    own(tmp_path, '[run.web]\nimage = "mine"\n[profiles.p]\nprivileged = true\n')
    project(tmp_path, '[run.web]\nimage = "evil"\n[profiles.p]\nuser = "root"\n[run.b]\nimage = "x"\nextends = "p"\n')
    with pytest.raises(FailedPrecondition, match=r"\[run.web\] is in a file of yours and in one that prun found"):
        request(tmp_path, "web")
    with pytest.raises(FailedPrecondition, match=r"\[profiles.p\]"):
        request(tmp_path, "--profile", "p", "x")
    assert request(tmp_path, "b").privileged is False  # extends its own, not yours


def test_a_word_that_may_mean_an_image_is_not_guessed(tmp_path: Path) -> None:
    """``prun run -v $HOME:/data busybox`` gives $HOME to busybox, and not to whom a repository calls so."""
    path = project(tmp_path, '[run.busybox]\nimage = "evil"\n')
    with pytest.raises(PermissionDenied, match="and --volume was given") as raised:
        request(tmp_path, "-v", "/root:/data", "busybox")
    assert raised.value.hint == f"-f {path} busybox is the run, busybox:latest is the image"
    assert request(tmp_path, "-v", "/root:/data", "busybox:latest").image == "busybox:latest"
    with Store(str(tmp_path / "root"), str(tmp_path / "state")) as store:
        store.metadata.put_image(_row("docker.io/library/busybox:latest"))
    with pytest.raises(PermissionDenied, match="there is an image of that name, too"):
        request(tmp_path, "busybox")


def _row(name: str) -> ImageRow:
    return ImageRow(name, "sha256:" + "0" * 64, "application/vnd.oci.image.manifest.v1+json", 1, 0.0)


def test_only_a_file_that_nobody_else_can_have_put_there_is_looked_into(tmp_path: Path) -> None:
    path = project(tmp_path, '[run.web]\nimage = "x"\n')
    assert distrusted(path) == ""
    (tmp_path / "here").chmod(0o777)
    assert distrusted(path) == f"{tmp_path}/here may be changed by others (uid {os.geteuid()}, mode 777)"
    assert request(tmp_path, "web").image == "web"
    with pytest.raises(NotFound, match=f"no profile 'x'; {path} is not used: {tmp_path}/here may be changed by others"):
        request(tmp_path, "--profile", "x", "web")
    (tmp_path / "here").chmod(0o1777)  # sticky: he could still put one there where there was none
    assert "mode 1777" in distrusted(path)
    (tmp_path / "here").chmod(0o755)
    tmp_path.chmod(0o1777)  # further up it keeps him from renaming what is not his
    assert distrusted(path) == ""
    tmp_path.chmod(0o775)
    assert "mode 775" in distrusted(path)
    tmp_path.chmod(0o700)
    os.chmod(path, 0o664)
    assert f"{path} may be changed by others" in distrusted(path)
    own(tmp_path, f"trust = '{tmp_path}'\n")
    assert read_settings().found == path  # trusted, and yet not: others may change it


def test_a_link_is_followed_to_where_the_file_is(tmp_path: Path) -> None:
    elsewhere = tmp_path / "open"
    written(elsewhere / "evil.toml", '[run.web]\nimage = "x"\n')
    (tmp_path / "here/prun.toml").symlink_to(elsewhere / "evil.toml")
    assert distrusted(str(tmp_path / "here/prun.toml")) == ""
    elsewhere.chmod(0o777)
    assert f"{elsewhere} may be changed" in distrusted(str(tmp_path / "here/prun.toml"))


@pytest.mark.root
def test_a_file_of_somebody_else_is_not_looked_into(tmp_path: Path) -> None:
    path = project(tmp_path, '[run.web]\nimage = "x"\n')
    os.chown(path, 12345, 12345)
    assert "uid 12345" in distrusted(path)
    os.chown(path, 0, 0)
    os.chown(tmp_path / "here", 12345, 12345)
    assert "uid 12345" in distrusted(path)


def test_the_nearest_file_upwards_is_the_projects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = project(tmp_path, "")
    (tmp_path / "here/a/b").mkdir(parents=True)
    monkeypatch.chdir("a/b")
    assert nearest_project() == path
    assert nearest_project((path,)) == ""
    nearer = written(tmp_path / "here/a/prun.toml", "")
    assert nearest_project() == nearer
    (tmp_path / "here/a/b").rmdir()
    assert nearest_project() == ""


def test_a_broken_file_matters_to_nobody_who_asks_nothing_of_it(tmp_path: Path) -> None:
    project(tmp_path, "this is no TOML")
    assert request(tmp_path, "busybox:latest").image == "busybox:latest"
    assert read_settings().documents == ()
    with pytest.raises(InvalidConfig, match="1:6: expected '='"):
        request(tmp_path, "busybox")
