"""``inspect``: docker's structure, filled with what is true."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from images import file

if TYPE_CHECKING:
    from attack import Attack
    from command import Prun


def inspected(prun: Prun, name: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(prun("inspect", name).stdout)[0]
    return record


def test_what_was_asked_for_is_in_its_place(prun: Prun, tmp_path: Path) -> None:
    words = [
        "create", "--name", "full", "-h", "myhost", "-u", "1:2", "-w", "/tmp", "-e", "A=b", "-l", "k=v", "-it",
        "--entrypoint", "sh", "--stop-signal", "INT", "--stop-timeout", "3", "--restart", "on-failure:5",
        "--read-only", "--cap-add", "NET_ADMIN", "--cap-drop", "MKNOD", "--security-opt", "no-new-privileges",
        "-m", "64m", "--memory-swap", "128m", "--cpus", "0.5", "--pids-limit", "99", "--cpuset-cpus", "0",
        "--ulimit", "nofile=100:200",
        "--sysctl", "net.ipv4.ip_forward=1", "--shm-size", "1m", "--oom-score-adj", "7", "--ipc", "shareable",
        "--add-host", "peer:10.0.0.1", "--dns", "10.0.0.2", "--dns-search", "example.com", "--group-add", "5",
        "-v", f"{tmp_path}:/mnt:ro", "-v", "named:/named", "--tmpfs", "/scratch:size=1m",
        "--device", "/dev/null:/dev/n:r",
        "--annotation", "x=y", "--pid", "host", "--umask", "0077", "--log-opt", "max-size=1m",
        "busybox", "-c", "true",
    ]  # fmt: skip
    done = prun(*words)
    assert done.returncode == 0, done.stderr
    record = inspected(prun, "full")
    assert (record["Path"], record["Args"]) == ("sh", ["-c", "true"])
    assert record["State"]["Status"] == "created"
    config = record["Config"]
    of_process = ("Hostname", "User", "WorkingDir", "Tty", "OpenStdin", "Cmd", "Entrypoint")
    assert {key: config[key] for key in of_process} == {
        "Hostname": "myhost", "User": "1:2", "WorkingDir": "/tmp", "Tty": True, "OpenStdin": True,
        "Cmd": ["-c", "true"], "Entrypoint": ["sh"],
    }  # fmt: skip
    assert {key: config[key] for key in ("Labels", "StopSignal", "StopTimeout", "Umask", "Image")} == {
        "Labels": {"k": "v"}, "StopSignal": "SIGINT", "StopTimeout": 3, "Umask": "0077", "Image": "busybox",
    }  # fmt: skip
    assert "A=b" in config["Env"]
    assert any(entry.startswith("PATH=") for entry in config["Env"])
    host = record["HostConfig"]
    wanted = {
        "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 5}, "ReadonlyRootfs": True, "Init": False,
        "IpcMode": "shareable",
        "CapAdd": ["CAP_NET_ADMIN"], "CapDrop": ["CAP_MKNOD"], "SecurityOpt": ["no-new-privileges"],
        "Memory": 64 << 20, "MemorySwap": 128 << 20, "NanoCpus": 500_000_000, "PidsLimit": 99, "CpusetCpus": "0",
        "Ulimits": [{"Name": "nofile", "Soft": 100, "Hard": 200}], "Sysctls": {"net.ipv4.ip_forward": "1"},
        "ShmSize": 1 << 20, "OomScoreAdj": 7, "ExtraHosts": ["peer:10.0.0.1"], "Dns": ["10.0.0.2"],
        "DnsSearch": ["example.com"], "GroupAdd": ["5"], "PidMode": "host", "NetworkMode": "none", "AutoRemove": False,
        "Devices": [{"PathOnHost": "/dev/null", "PathInContainer": "/dev/n", "CgroupPermissions": "r"}],
        "LogConfig": {"Type": "k8s-file", "Config": {"max-size": str(1 << 20), "max-file": "1"}},
        "Annotations": {"x": "y"}, "Privileged": False, "PortBindings": {}, "Runtime": "linux",
    }  # fmt: skip
    assert {key: host[key] for key in wanted} == wanted
    assert host["Binds"][0].startswith(f"{tmp_path}:/mnt:")
    assert list(host["Tmpfs"]) == ["/scratch"]
    mounts = {mount["Destination"]: mount for mount in record["Mounts"]}
    assert (mounts["/mnt"]["Type"], mounts["/mnt"]["RW"]) == ("bind", False)
    assert (mounts["/named"]["Type"], mounts["/named"]["Name"]) == ("volume", "named")
    assert record["NetworkSettings"]["Ports"] == {}
    assert prun("rm", "full").returncode == 0
    assert prun("volume", "rm", "named").returncode == 0


def test_a_running_container_tells_where_its_files_are(prun: Prun) -> None:
    assert prun("run", "-d", "--name", "web", "busybox", "sh", "-c", "echo out; sleep 600").returncode == 0
    record = inspected(prun, "web")
    state = record["State"]
    assert (state["Status"], state["Running"], state["Paused"], state["ExitCode"]) == ("running", True, False, 0)
    assert f"{state['Pid']}" in Path(f"/proc/{state['Pid']}/stat").read_text()
    for key in ("LogPath", "HostsPath", "HostnamePath"):
        assert Path(record[key]).is_file(), key
    assert record["Config"]["AttachStdout"] is False
    assert prun("pause", "web").returncode == 0
    assert inspected(prun, "web")["State"] | {"Pid": 0} == state | {"Pid": 0, "Status": "paused", "Paused": True}
    assert prun("rm", "-f", "web").returncode == 0


def test_one_that_has_ended_says_how(prun: Prun) -> None:
    assert prun("run", "--name", "done", "--log-driver", "none", "busybox", "sh", "-c", "exit 3").returncode == 3
    record = inspected(prun, "done")
    assert (record["State"]["Status"], record["State"]["ExitCode"], record["State"]["Pid"]) == ("exited", 3, 0)
    assert record["State"]["StartedAt"] < record["State"]["FinishedAt"]
    assert (record["LogPath"], record["HostConfig"]["LogConfig"]["Type"]) == ("", "none")
    assert record["HostsPath"] == ""


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{.State.Running}} {{.Config.Cmd}} {{.HostConfig.RestartPolicy.Name}}", "false [true] no"),
        ('{{index .Config.Labels "a.b"}}|{{.Config.Labels}}|{{json .Config.Labels}}', 'c|a.b=c|{"a.b":"c"}'),
        ('{{range $k, $v := .NetworkSettings.Networks}}{{$k}}={{$v.IPAddress}};{{end}}', "none=;"),
        ("{{with .State.Health}}{{.Status}}{{end}}", None),
        (r"{{.Name}}\t{{len .Mounts}}", "one\t0"),
        ("{{slice .Id 0 12}}", None),
    ],
)  # fmt: skip
def test_templates_of_containers(prun: Prun, template: str, text: str | None) -> None:
    assert prun("create", "--name", "one", "-l", "a.b=c", "busybox", "true").returncode == 0
    done = prun("inspect", "-f", template, "one")
    if ".Health" in template:
        assert "there is no field .Health" in done.stderr
    elif text is None:
        assert len(done.stdout) == 13
    else:
        assert done.stdout == f"{text}\n"


def test_what_a_name_can_be_of(prun: Prun) -> None:
    assert prun("volume", "create", "shared").returncode == 0
    assert prun("create", "--name", "shared", "busybox", "true").returncode == 0
    assert "Mountpoint" not in inspected(prun, "shared")
    assert "Mountpoint" in json.loads(prun("inspect", "--type", "volume", "shared").stdout)[0]
    assert "Layers" in json.loads(prun("inspect", "--type=image", "busybox").stdout)[0]["RootFS"]
    assert "no such container, image or volume: nothing" in prun("inspect", "nothing").stderr
    assert "--size is for containers" in prun("inspect", "--size", "--type", "image", "busybox").stderr
    done = prun("inspect", "shared", "nothing")
    assert (done.returncode, done.stdout) == (125, "")
    assert prun("rm", "shared").returncode == 0
    assert prun("volume", "rm", "shared").returncode == 0


def test_the_labels_of_the_image_are_the_containers_too(attack: Attack) -> None:
    image = attack.image([file("x")], {"Labels": {"of.image": "1", "both": "image"}, "Cmd": ["true"]})
    prun = attack.prun
    assert prun("load", "--tag", "example.com/a/labelled:1", image).returncode == 0
    template = '{{index .Config.Labels "of.image"}}|{{index .Config.Labels "no"}}|{{.Config.Entrypoint}}|{{.RepoTags}}'
    assert prun("inspect", "-f", template, "example.com/a/labelled:1").stdout == "1||<nil>|[example.com/a/labelled:1]\n"
    digests = prun("inspect", "-f", "{{index .RepoDigests 0}} {{.Id}}", "example.com/a/labelled:1").stdout.split()
    assert digests[0] == f"example.com/a/labelled@{digests[1]}"
    assert prun("create", "--name", "labelled", "-l", "both=mine", image).returncode == 0
    assert inspected(prun, "labelled")["Config"]["Labels"] == {"of.image": "1", "both": "mine"}
    assert prun("ps", "-aq", "--filter", "label=of.image=1").stdout != ""
    assert prun("ps", "-aq", "--filter", "label=both=image").stdout == ""
    assert prun("rm", "labelled").returncode == 0
    assert prun("rmi", "example.com/a/labelled:1").returncode == 0
