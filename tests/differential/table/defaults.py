"""A run without options: everything is compared, and each default that is not podman's has its reason here."""

from __future__ import annotations

from differential.case import Case, differs

CONSOLE = differs(
    "cgroup:devices", prun="devices.list: c 5:1 rwm", because="docker allows /dev/console; podman only with -t"
)
EVERYTHING = """
    id cwd umask environment env:HOSTNAME hostname file:/etc/hostname first:1 maps oom limits mounts
    status:Cap status:NoNewPrivs status:Seccomp: status:Uid status:Gid status:Groups
    namespace:pid namespace:ipc namespace:uts namespace:net namespace:mnt namespace:user namespace:cgroup
    list:/ list:/dev list:/proc/acpi list:/sys/firmware read:/proc/kcore read:/proc/keys
    write:/ write:/proc/sys write:/sys write:/dev write:/dev/shm write:/sys/fs/cgroup
    sysctl:net.ipv4.ip_forward sysctl:net.ipv4.ping_group_range sysctl:net.ipv4.ip_unprivileged_port_start
"""

DEFAULTS = (
    # The one limit that podman cannot have as it would by default, without CAP_SYS_RESOURCE
    Case(
        "--ulimit nproc=1024:1024",
        (
            differs(
                "environment",
                podman="TERM=xterm\ncontainer=podman",
                because="docker sets TERM only with -t, and no variable that names the program",
            ),
            differs(
                "status:NoNewPrivs",
                prun="NoNewPrivs:\t1",
                podman="NoNewPrivs:\t0",
                because="the seed's default, and containerd's: setuid programs of an image gain nothing",
            ),
            differs(
                "status:Groups",
                prun="Groups:\t0 ",
                podman="Groups:\t ",
                because="the primary group is among the others, as docker and containerd have it (CVE-2022-36109)",
            ),
            differs(
                "write:/sys/fs/cgroup",
                prun="/sys/fs/cgroup cannot",
                podman="/sys/fs/cgroup can be written",
                because="read-only, and so is the directory of the v1 hierarchies, as for docker",
            ),
            differs(
                "namespace:cgroup",
                prun="cgroup: its own",
                podman="cgroup: of the host",
                because="one of its own on v1, too: the seed's default, and podman's on v2",
            ),
            differs(
                "mounts",
                prun="/dev tmpfs rw,nosuid,size=65536k,mode=755",
                podman="/dev tmpfs rw,nosuid,noexec,size=65536k,mode=755",
                because="docker's and the seed's /dev is not noexec",
            ),
            differs(
                "mounts",
                prun="/dev/shm tmpfs rw,nosuid,nodev,noexec,size=65536k",
                podman="/dev/shm tmpfs rw,nosuid,nodev,noexec,size=64000k",
                because="64 MiB, as docker has it; podman reckons 64000 kB",
            ),
            differs(
                "mounts",
                prun="/run tmpfs rw,nosuid,size=65536k,mode=755\n/etc/localtime disk ro",
                because="the seed's /run, and the host's time zone as the seed has it",
            ),
            differs(
                "mounts",
                prun="/etc/resolv.conf disk rw",
                because="docker gives a resolv.conf without a network, too",
            ),
            differs(
                "mounts",
                prun="/sys/fs/cgroup tmpfs ro,nosuid,nodev,noexec,mode=755",
                podman="/sys/fs/cgroup tmpfs rw,nosuid,nodev,noexec,mode=755",
                because="the directory of the v1 hierarchies is read-only as they are, as for docker",
            ),
            differs(
                "mounts",
                podman="/run/.containerenv disk rw",
                because="a file of podman's own, that names it",
            ),
            differs(
                "mounts",
                prun="/proc/interrupts is /dev/null",
                podman="/sys/dev/block tmpfs ro",
                because="masked as in docker of today, not as in podman 4.3.1",
            ),
        ),
        sees=EVERYTHING,
    ),
    Case("", (CONSOLE,), sees="cgroup:memory cgroup:cpu cgroup:cpuset cgroup:pids cgroup:blkio cgroup:devices"),
)
