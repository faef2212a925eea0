"""Devices on cgroup v2, where a BPF program of the OCI runtime decides instead of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vm.guest.conftest import Run

READ = "dd if=/dev/disk of=/dev/null bs=512 count=1"
WRITE = "dd if=/dev/zero of=/dev/disk bs=512 count=1"
NODE = "mknod /dev/disk b 254 0"  # the guest's /dev/vda


def test_a_node_that_the_container_makes_opens_no_device_of_the_host(run: Run):
    done = run("busybox", "sh", "-c", f"{NODE}; {READ}")
    assert done.returncode == 1
    assert "Operation not permitted" in done.stderr


def test_a_device_rule_opens_it_as_far_as_the_rule_says(run: Run):
    done = run("--device-cgroup-rule", "b 254:0 rm", "busybox", "sh", "-c", f"{NODE} && {READ} && {WRITE}")
    assert done.returncode == 1
    assert "1+0 records out" in done.stderr
    assert "can't open '/dev/disk': Operation not permitted" in done.stderr


def test_a_device_is_given_as_far_as_its_access_says(run: Run):
    done = run("--device", "/dev/vda:/dev/disk:r", "busybox", "sh", "-c", f"{READ} && {WRITE}")
    assert done.returncode == 1
    assert "1+0 records out" in done.stderr
    assert "can't open '/dev/disk': Operation not permitted" in done.stderr


def test_a_privileged_container_opens_what_it_likes(run: Run):
    done = run("--privileged", "busybox", "sh", "-c", f"cd /dev; rm -f disk; mv vda disk; {READ} && {WRITE}")
    assert done.returncode == 0, done.stderr
