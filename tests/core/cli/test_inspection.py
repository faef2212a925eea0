from __future__ import annotations

from prun.cli.inspection import request_of
from prun.cli.inspection.settings import config, host_config
from prun.metadata import ContainerRow
from prun.request.stored import dumped
from prun.types import Image, Platform, RunRequest

ROW = ContainerRow("0" * 64, "web", "busybox", "", "linux", labels={"a": "b"}, keep=False)
LOG = {"Type": "none", "Config": {}, "Path": ""}


def test_what_a_container_was_made_from_is_read_or_what_its_row_says() -> None:
    request = RunRequest("0" * 64, "busybox", network="host")
    assert request_of(ROW._replace(request=dumped(request))) == request
    for text in ("", "{", '{"id": "x", "later": 1}'):
        made = request_of(ROW._replace(request=text))
        assert (made.id, made.image, made.network, made.remove) == ("0" * 64, "busybox", "none", True)


def test_the_process_is_the_images_and_over_that_the_users() -> None:
    image = Image("x", "", Platform("linux", "amd64"), {
        "Entrypoint": ["/entry"], "Cmd": ["a"], "Env": ["PATH=/bin", "A=1", "B=2"], "User": "9", "WorkingDir": "/w",
    })  # fmt: skip
    plain = config(ROW, RunRequest("0" * 64), image)
    assert (plain["Entrypoint"], plain["Cmd"], plain["User"], plain["WorkingDir"]) == (["/entry"], ["a"], "9", "/w")
    assert plain["Env"] == ["PATH=/bin", "A=1", "B=2"]
    assert plain["Hostname"] == "0" * 12
    asked = RunRequest("0" * 64, args=("b",), entrypoint=(), env=("A=3", "B"), user="1", workdir="/", hostname="h")
    over = config(ROW, asked, image)
    assert (over["Entrypoint"], over["Cmd"], over["User"], over["WorkingDir"]) == ([], ["b"], "1", "/")
    assert (over["Env"], over["Hostname"]) == (["PATH=/bin", "A=3"], "h")
    assert config(ROW, asked._replace(args=()), image)["Cmd"] is None  # --entrypoint drops the image's command
    assert config(ROW, asked._replace(stop_timeout_s=float("inf")), image)["StopTimeout"] == -1


def test_what_the_row_says_today_counts() -> None:
    host = host_config(ROW._replace(restart="on-failure:2"), RunRequest("0" * 64), LOG)
    assert host["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 2}
    assert host["AutoRemove"] is True
    assert host_config(ROW, RunRequest("0" * 64), LOG)["RestartPolicy"]["Name"] == "no"
