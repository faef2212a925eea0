"""Namespaces, and the files about names in /etc."""

from __future__ import annotations

from differential.case import Case, differs, exits, not_shown, refused

DOCKER_SPELLS_IT_SO = "docker also takes NAME=ADDRESS; podman 4.3.1 does not yet"
SIXTY_FOUR_MIB = "64 MiB, as docker has it; podman reckons 64000 kB"
LATER = "joining another container's network belongs to the networking issue"
BESIDE = "peer sh -c 'echo; exec cat'"

NAMESPACES = (
    Case("--pid host", sees="namespace:pid namespace:ipc first:1"),
    Case("--pid private", sees="namespace:pid"),
    Case("--pid nonsense peer true"),
    Case("--pid container:nobody peer true"),
    Case("--pid container:companion peer ps -o args", beside=BESIDE),
    Case("--ipc host", sees="namespace:ipc mount:/dev/shm"),
    Case(
        "--ipc private",
        (
            differs(
                "mount:/dev/shm",
                prun="/dev/shm tmpfs rw,nosuid,nodev,noexec,size=65536k",
                podman="/dev/shm tmpfs rw,nosuid,nodev,noexec,size=64000k",
                because=SIXTY_FOUR_MIB,
            ),
        ),
        sees="namespace:ipc mount:/dev/shm",
    ),
    Case("--ipc none", sees="namespace:ipc mount:/dev/shm"),
    Case("--ipc shareable", sees="namespace:ipc"),
    Case("--ipc nonsense peer true"),
    Case(
        "--ipc container:companion peer ls /dev/shm",
        beside="--ipc shareable peer sh -c ':>/dev/shm/shared; echo; exec cat'",
    ),
    Case("--uts host", sees="namespace:uts"),
    Case("--uts private", sees="namespace:uts"),
    Case("--uts host --hostname other peer hostname"),
    Case("--uts nonsense peer true"),
    Case("--cgroupns host", sees="namespace:cgroup"),
    Case("--cgroupns private", sees="namespace:cgroup membership"),
    Case("--cgroupns nonsense peer true"),
    Case("", network="host", sees="namespace:net namespace:uts"),
    Case("peer true", network="container:nobody"),
    Case(
        "",
        (refused(0, LATER), not_shown("namespace:net", "net: its own", LATER)),
        network="container:companion",
        sees="namespace:net",
        beside=BESIDE,
    ),
    Case("--userns host", sees="namespace:user maps"),
    Case("--uidmap 0:100000:2000 --gidmap 0:200000:2000", sees="namespace:user maps id"),
    Case("--uidmap 0:100000:2000", sees="maps"),
    Case("--uidmap 0:100000:2000 -u bob", sees="id write:/home/bob stat:/home/bob"),
    Case("--uidmap 0:1 peer true", (exits(0, 125, "a missing size is 1, as in podman of today; 4.3.1 wants it"),)),
    Case("--uidmap 1:100000:10 peer true"),
    Case("--userns nonsense peer true"),
    Case("--userns keep-id peer true"),
    Case("--userns container:nobody peer true"),
    # Names
    Case("-h named", sees="hostname file:/etc/hostname env:HOSTNAME"),
    Case("--hostname named.example.com --name named peer sh -c 'hostname; grep named /etc/hosts'"),
    Case("-h 'not a name' peer true", (refused(0, "no host name has blanks; docker refuses it, too"),)),
    Case("--name named", sees="hostname"),
    Case("--add-host one:192.0.2.1 --add-host two:2001:db8::2 peer grep -E 'one|two' /etc/hosts"),
    Case(
        "--add-host one=192.0.2.1 peer grep one /etc/hosts",
        (exits(0, 125, DOCKER_SPELLS_IT_SO), differs("stdout", prun="192.0.2.1\tone", because=DOCKER_SPELLS_IT_SO)),
    ),
    Case("--add-host one:nowhere peer true"),
    Case("--add-host one peer true"),
    Case(
        "--dns 192.0.2.53 --dns 2001:db8::53 --dns-search example.com --dns-option ndots:2",
        network="host",
        sees="file:/etc/resolv.conf",
    ),
    Case("--dns 192.0.2.53 --dns-opt rotate", network="host", sees="file:/etc/resolv.conf"),
    Case("--dns nowhere peer true"),
    Case("--dns-search . --dns 192.0.2.53", network="host", sees="file:/etc/resolv.conf"),
)
