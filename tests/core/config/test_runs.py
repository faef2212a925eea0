"""``prun run NAME``, ``-f FILE NAME``, ``--profile``: which values are in force, and where each comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from config_files import own, request, written

from prun.api import Runner
from prun.config import layers
from prun.config.faults import InvalidConfig
from prun.config.files import Document
from prun.config.layers import in_order
from prun.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    from pathlib import Path

FILE = """\
runtime = "fake"

[defaults]
rm = true
label = ["from=defaults"]

[profiles.base]
memory = "64m"
env = ["A=base"]

[profiles.ci]
extends = "base"
memory = "128m"
env = {A = "ci", B = 2}

[profiles.loud]
env = ["LOUD=1"]
unset = ["label"]

[run.web]
image = "busybox:1"
command = ["httpd", "-f"]
extends = "ci"
hostname = "web"
volume = ["${config.dir}/www:/www:ro"]
"""


def origins(found: object) -> list[str]:
    return [str(each) for each in found]  # type: ignore[attr-defined]


def test_a_run_is_its_table_over_its_profiles_over_the_defaults(tmp_path: Path) -> None:
    path = own(tmp_path, FILE)
    found = request(tmp_path, "web", "-p", "80")
    assert (found.image, found.args) == ("busybox:1", ("httpd", "-f", "-p", "80"))
    assert (found.runtime, found.remove, found.hostname) == ("fake", True, "web")
    assert found.resources
    assert found.resources.memory_bytes == 128 << 20
    assert found.env == ("A=base", "A=ci", "B=2")
    assert found.volumes[0].source == f"{tmp_path}/home/prun/www"
    assert origins(found.origins["memory"]) == [f"[profiles.ci] ({path}:13)"]
    assert origins(found.origins["env"]) == [f"[profiles.base] ({path}:9)", f"[profiles.ci] ({path}:14)"]
    assert origins(found.origins["image"]) == [f"[run.web] ({path}:21)"]
    assert origins(found.origins["rm"]) == [f"[defaults] ({path}:4)"]


def test_flags_win_over_files_and_lists_append(tmp_path: Path) -> None:
    own(tmp_path, FILE)
    found = request(tmp_path, "--memory=1g", "--rm=false", "-e", "A=flag", "--profile", "loud", "web", "--", "-v")
    assert found.resources
    assert (found.resources.memory_bytes, found.remove, found.labels) == (1 << 30, False, {})
    assert found.env == ("A=base", "A=ci", "B=2", "LOUD=1", "A=flag")
    assert found.args == ("httpd", "-f", "-v")
    assert origins(found.origins["memory"]) == ["--memory"]
    assert origins(found.origins["env"])[-1] == "--env"


def test_an_image_gets_the_defaults_and_the_profiles_that_were_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own(tmp_path, FILE)
    found = request(tmp_path, "debian:12", "id")
    assert (found.image, found.args, found.remove, found.env) == ("debian:12", ("id",), True, ())
    assert request(tmp_path, "web:latest").image == "web:latest"
    monkeypatch.setenv("PRUN_PROFILE", "base,loud")
    assert request(tmp_path, "x").env == ("A=base", "LOUD=1")
    assert request(tmp_path, "--profile", "base", "x").env == ("A=base",)


def test_the_environment_goes_over_files_and_flags_over_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own(tmp_path, '[run.web]\nimage = "x"\nruntime = "linux"\n[runtimes.fake]\nx = 1\n')
    assert request(tmp_path, "web").runtime == "linux"
    monkeypatch.setenv("PRUN_RUNTIME", "fake")
    found = request(tmp_path, "web")
    assert (found.runtime, found.options) == ("fake", {"x": "1"})
    assert origins(found.origins["runtime"]) == ["PRUN_RUNTIME"]
    assert origins(found.origins["opt"]) == [f"[runtimes.fake] ({tmp_path}/home/prun/prun.toml:5)"]
    assert request(tmp_path, "--runtime", "windows", "web").runtime == "windows"


def test_a_run_of_a_named_file_is_that_files(tmp_path: Path) -> None:
    own(tmp_path, FILE)
    path = written(tmp_path / "x.toml", '[run.web]\nimage = "other"\n[profiles.ci]\nuser = "me"\n[run.b]\nimage="b"\n')
    assert request(tmp_path, "-f", path, "web").image == "other"
    found = request(tmp_path, "-f", path, "--profile", "ci", "b", "sh")
    assert (found.args, found.user, found.env) == (("sh",), "me", ("A=base", "A=ci", "B=2"))
    with pytest.raises(NotFound, match=r"x.toml has no \[run.busybox\]") as raised:
        request(tmp_path, "-f", path, "busybox")
    assert raised.value.hint == "it has: web, b"
    with pytest.raises(InvalidArgument, match="both --config and --file"):
        request(tmp_path, "-f", path, "web", config=path)


def test_the_last_file_that_has_a_run_has_all_of_it(tmp_path: Path) -> None:
    own(tmp_path, FILE)
    path = written(tmp_path / "x.toml", '[run.web]\nimage = "other"\n')
    found = request(tmp_path, "web", config=path)
    assert (found.image, found.args, found.volumes, found.hostname) == ("other", (), (), "")


def test_a_root_file_system_takes_the_place_of_the_image(tmp_path: Path) -> None:
    own(tmp_path, '[run.a]\nrootfs = "/srv"\ncommand = ["sh"]\n[run.b]\n[run.c]\nimage = "x"\nextends = "p"\n'
        '[profiles.p]\nrootfs = "/srv"\n')  # fmt: skip
    found = request(tmp_path, "a", "-c", "id")
    assert (found.image, found.rootfs, found.args) == ("", "/srv", ("sh", "-c", "id"))
    with pytest.raises(InvalidArgument, match=r"\[run.b\] has no image"):
        request(tmp_path, "b")
    with pytest.raises(InvalidArgument, match="an image, and a rootfs"):
        request(tmp_path, "c")


def test_what_files_and_words_say_together_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = own(tmp_path, "[defaults]\nrm = true\n")
    with pytest.raises(InvalidArgument, match=r"both --restart and --rm \(rm: \[defaults\] \(" + path + ":2"):
        request(tmp_path, "--restart", "always", "x")


def test_an_unknown_profile_is_refused_with_the_nearest(tmp_path: Path) -> None:
    own(tmp_path, FILE)
    with pytest.raises(NotFound, match="no profile 'bass'") as raised:
        request(tmp_path, "--profile", "bass", "x")
    assert raised.value.hint == "did you mean 'base'?"
    (tmp_path / "home/prun/prun.toml").unlink()
    with pytest.raises(NotFound, match="no profile 'base'"):
        request(tmp_path, "--profile", "base", "x")


def test_values_that_cannot_be_used_are_named_at_their_places_and_all_at_once(tmp_path: Path) -> None:
    own(tmp_path, "[run.a]\nimage = 'x'\nmemory = 'lots'\nenv = ['=x']\nuser = '${NOBODY_SET_THIS}'\ncpus = '${'\n")
    with pytest.raises(InvalidConfig) as raised:
        request(tmp_path, "a")
    assert [(each.line, each.column, each.message) for each in raised.value.faults] == [
        (3, 10, "--memory 'lots' is not a size"),
        (4, 7, "--env '=x' has no name"),
        (5, 8, "user: variable NOBODY_SET_THIS is not set"),
        (6, 8, "cpus: '${' has no '}'"),
    ]
    request(tmp_path, "other")  # what is not asked for does not matter yet


def test_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAG", "1.2")
    monkeypatch.setenv("EMPTY", "")
    own(tmp_path, """[run.a]
image = "r.example/app:${TAG}"
command = ["sh", "-c", "echo ${TAG} $$ $TAG"]
entrypoint = ["/bin/${TAG}"]
user = "${NOBODY_SET_THIS:-me}"
hostname = "${EMPTY:-h}$TAG"
env = {A = "$${TAG}", B = "${EMPTY}", C = "${config.dir}", D = "$$"}
""")  # fmt: skip
    found = request(tmp_path, "a")
    assert found.image == "r.example/app:1.2"
    assert found.args == ("sh", "-c", "echo ${TAG} $$ $TAG")
    assert found.entrypoint == ("/bin/${TAG}",)
    assert (found.user, found.hostname) == ("me", "h$TAG")
    assert found.env == ("A=${TAG}", "B=", f"C={tmp_path}/home/prun", "D=$")


def test_the_library_takes_defaults_profiles_and_runs_when_it_is_told_to(tmp_path: Path) -> None:
    path = written(tmp_path / "x.toml", FILE)
    places = {"root": str(tmp_path / "root"), "state": str(tmp_path / "state")}
    runner = Runner.from_config("web", file=path, profiles=["loud"], **places)  # type: ignore[arg-type]
    found = runner.request(args=["x"], env={"A": "mine"}, memory="32m")
    assert (found.image, found.args, found.runtime) == ("busybox:1", ("httpd", "-f", "x"), "fake")
    assert found.env == ("A=base", "A=ci", "B=2", "LOUD=1", "A=mine")
    assert found.resources
    assert found.resources.memory_bytes == 32 << 20
    assert origins(found.origins["hostname"]) == [f"[run.web] ({path}:24)"]
    assert origins(found.origins["memory"]) == ["memory"]
    plain = Runner(config=path, **places)  # type: ignore[arg-type]
    assert (plain.runtime, plain.request("x").labels) == ("fake", {})
    with pytest.raises(NotFound, match=r"no file has a \[run.wep\]"):
        Runner.from_config("wep", file=path)
    tty = Runner.from_config(file=written(tmp_path / "tty.toml", "[defaults]\ntty = true\n"))
    with pytest.raises(InvalidArgument, match=r"tty is an option of the command line only \(\[defaults\]"):
        tty.request("x")


def test_two_thousand_profiles_take_a_step_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each extends the next, and every tenth two more: what is counted is work, since time says nothing here."""
    number = 2000
    bases = [[f"p{j}" for j in (i + 1, i + 2, i + 9)[: 1 if i % 10 else 3] if j < number] for i in range(number)]
    tables = [f"[profiles.p{i}]\nextends = {each}\nenv = ['P{i}=1']\n" for i, each in enumerate(bases)]
    own(tmp_path, "".join(tables))
    asked = 0
    real = layers._extended

    def counted(name: str, documents: object) -> list[str]:
        nonlocal asked
        asked += 1
        return real(name, documents)  # type: ignore[arg-type]

    monkeypatch.setattr(layers, "_extended", counted)
    found = request(tmp_path, "--profile", "p0", "x")
    assert found.env[0] == f"P{number - 1}=1"
    assert len(found.env) == number
    assert asked == 2 * number  # once when they are checked, once when they are laid
    own(tmp_path, "".join(tables) + f"[profiles.p{number}]\nextends = 'p{number - 3}'\n")
    text = "".join(tables).replace(
        f"[profiles.p{number - 1}]\nextends = []", f"[profiles.p{number - 1}]\nextends = 'p0'"
    )
    own(tmp_path, text)
    with pytest.raises(InvalidConfig, match="circle: p0 -> p1 -> p2 -> "):
        request(tmp_path, "x")


def test_a_profile_counts_once_where_it_comes_first() -> None:
    profiles = {"a": {"extends": ["b", "c"]}, "b": {"extends": "d"}, "c": {"extends": "d"}, "d": {}}
    document = Document("/prun.toml", "", {"profiles": profiles})
    assert in_order(["a", "d", "c"], [document]) == ["d", "b", "c", "a"]
