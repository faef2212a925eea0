"""What the process may do: capabilities, seccomp, paths, devices, kernel settings."""

from __future__ import annotations

from differential.case import Case, differs, exits, only_shown, refused
from differential.table.defaults import CONSOLE

SECCOMP = (
    '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}'
)

RUNTIME = "refused by name before anything is made; podman shows the runtime's error, or 126"
BUILTIN = "docker's word for the profile that is the default; podman 4.3.1 looks for a file"

SECURITY = (
    # Capabilities
    Case("--cap-add NET_ADMIN", sees="status:Cap"),
    Case("--cap-add CAP_SYS_TIME --cap-add sys_nice", sees="status:Cap"),
    Case("--cap-drop CHOWN --cap-drop cap_kill", sees="status:Cap"),
    Case("--cap-drop ALL", sees="status:Cap"),
    Case("--cap-drop all --cap-add CHOWN", sees="status:Cap"),
    Case("--cap-add ALL", sees="status:Cap"),
    Case("--cap-add ALL --cap-drop SYS_ADMIN", sees="status:Cap"),
    Case("--cap-add NET_ADMIN,SYS_TIME", sees="status:Cap"),
    Case("--cap-drop KILL,CHOWN", sees="status:Cap"),
    Case("--cap-add FLY peer true"),
    Case("--cap-drop FLY peer true"),
    Case("--cap-add CHOWN --cap-drop CHOWN", sees="status:Cap"),
    Case("-u bob", sees="status:Cap"),
    Case("-u bob --cap-add NET_ADMIN", sees="status:Cap"),
    Case("-u bob --cap-drop ALL", sees="status:Cap"),
    # Seccomp and new privileges
    Case("--security-opt no-new-privileges", sees="status:NoNewPrivs"),
    Case("--security-opt no-new-privileges=true", sees="status:NoNewPrivs"),
    Case("--security-opt no-new-privileges=false", sees="status:NoNewPrivs"),
    Case("--security-opt no-new-privileges:true", sees="status:NoNewPrivs"),
    Case("--security-opt seccomp=unconfined", sees="status:Seccomp:"),
    Case("--security-opt seccomp={dir}/profile peer mkdir /made", files={"profile": SECCOMP}),
    Case("--security-opt seccomp={dir}/missing peer true"),
    Case("--security-opt seccomp={dir}/profile peer true", files={"profile": "no JSON"}),
    Case("--security-opt nonsense=1 peer true"),
    Case("--security-opt nonsense peer true"),
    Case("--security-opt apparmor=unconfined peer true"),
    Case("--security-opt apparmor=missing-profile peer true"),
    Case("--security-opt label=disable peer true"),
    # Paths
    Case(
        "--security-opt seccomp=builtin",
        (exits(0, 125, BUILTIN), only_shown("status:Seccomp:", "Seccomp:\t2", BUILTIN)),
        sees="status:Seccomp:",
    ),
    Case("--security-opt mask=/etc/passwd:/data peer sh -c 'wc -c </etc/passwd; ls /data'"),
    Case(
        "--security-opt unmask=/proc/acpi:/sys/firmware", sees="mount:/proc/acpi mount:/sys/firmware mount:/proc/scsi"
    ),
    Case("--security-opt unmask=ALL", sees="mount:/proc/acpi mount:/proc/keys mount:/proc/sys mount:/sys/firmware"),
    Case(
        "--security-opt systempaths=unconfined",
        podman_line="--security-opt unmask=ALL",
        sees="mount:/proc/acpi mount:/proc/sys mount:/proc/bus",
    ),
    Case(
        "--security-opt mask=relative peer true",
        (refused(0, "podman says that it skips the path, and runs without the mask"),),
    ),
    # All of it
    Case(
        "--privileged", sees="status:Cap status:NoNewPrivs status:Seccomp: mount:/proc/sys mount:/sys mount:/proc/acpi"
    ),
    Case("--privileged", sees="list:/dev cgroup:devices"),
    Case(
        "--privileged --cap-drop CHOWN",
        (
            differs(
                "status:Cap",
                prun="CapPrm:\t000001fffefffffe\nCapEff:\t000001fffefffffe\nCapBnd:\t000001fffefffffe",
                podman="CapPrm:\t000001fffeffffff\nCapEff:\t000001fffeffffff\nCapBnd:\t000001fffeffffff",
                because="what the user drops is dropped; podman and docker do not look at it",
            ),
        ),
        sees="status:Cap",
    ),
    Case("--privileged -u bob", sees="status:Cap"),
    Case("--privileged --security-opt no-new-privileges", sees="status:NoNewPrivs"),
    # Devices
    Case("--device /dev/fuse", (CONSOLE,), sees="stat:/dev/fuse cgroup:devices"),
    Case("--device /dev/zero:/dev/nought", (CONSOLE,), sees="stat:/dev/nought cgroup:devices"),
    Case("--device /dev/zero:/dev/nought:r", (CONSOLE,), sees="stat:/dev/nought cgroup:devices"),
    Case("--device /dev/zero:r peer true"),
    Case("--device /dev/zero:/dev/nought:rx peer true"),
    Case("--device /dev/missing peer true"),
    Case("--device /etc/hostname peer true"),
    Case("--device {dir}/file peer true", files={"file": ""}),
    Case("--device vendor.example/class=missing peer true", (refused(126, RUNTIME),)),
    Case("--device-cgroup-rule 'c 42:* rwm'", (CONSOLE,), sees="cgroup:devices"),
    Case("--device-cgroup-rule 'x 42:* rwm' peer true"),
    Case(
        "--device-cgroup-rule 'c 42 rwm' peer true", (refused(0, "docker refuses a rule without a minor number, too"),)
    ),
    # Kernel settings
    Case("--sysctl net.ipv4.ip_forward=1", sees="sysctl:net.ipv4.ip_forward"),
    Case(
        "--sysctl kernel.shmmax=1048576 --sysctl kernel.msgmax=4096", sees="sysctl:kernel.shmmax sysctl:kernel.msgmax"
    ),
    Case("--sysctl fs.mqueue.msg_max=20", sees="sysctl:fs.mqueue.msg_max"),
    Case("--sysctl vm.swappiness=1 peer true"),
    Case("--sysctl kernel.core_pattern=core peer true"),
    Case("--sysctl net.ipv4.ip_forward peer true"),
    Case("--ipc host --sysctl kernel.shmmax=1048576 peer true", (refused(126, RUNTIME),)),
)
