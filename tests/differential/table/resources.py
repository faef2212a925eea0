"""What the process may use: memory, processors, processes, limits, block devices."""

from __future__ import annotations

from differential.case import Case, refused

BEFORE_THE_RUNTIME = "refused by name before anything is made; podman shows the runtime's error"
NOT_IGNORED = "what cannot be had is refused (features.md section 2); podman says that it discards it, and runs"

RESOURCES = (
    # Memory, and the grammar of sizes
    Case("-m 64m", sees="cgroup:memory"),
    Case("-m64M", sees="cgroup:memory"),
    Case("-m 0.0625g", sees="cgroup:memory"),
    Case("--memory 67108864 --memory-reservation=32768k --memory-swap 128MiB", sees="cgroup:memory"),
    Case("-m=64mb --memory-reservation 33554432b --memory-swap 0.125GB", sees="cgroup:memory"),
    Case("-m 0", sees="cgroup:memory"),
    Case("-m 64q peer true"),
    Case("-m -64m peer true"),
    Case("-m '' peer true", (refused(0, "an empty value is no size, as for docker; podman takes it for none given"),)),
    Case("-m 1m peer true", (refused(126, BEFORE_THE_RUNTIME),)),
    Case("-m 64m --memory-swap 128m", sees="cgroup:memory"),
    Case("-m 64m --memory-swap -1", sees="cgroup:memory"),
    Case("-m 64m --memory-swap 64m", sees="cgroup:memory"),
    Case("-m 64m --memory-swap 32m peer true"),
    Case("--memory-swap 64m peer true"),
    Case("-m 64m --memory-reservation 32m", sees="cgroup:memory"),
    Case("--memory-reservation 32m", sees="cgroup:memory"),
    Case("-m 32m --memory-reservation 64m peer true"),
    Case("--memory-swappiness 10 peer true"),
    Case("--memory-swappiness 101 peer true"),
    Case("--oom-kill-disable peer true"),
    Case("-m 64m --memory-swap 64m peer sh -c 'exec tail /dev/zero'"),
    # Processors
    Case("--cpus 1.5", sees="cgroup:cpu"),
    Case("--cpus 0.25", sees="cgroup:cpu"),
    Case("--cpus much peer true"),
    Case("--cpus -1 peer true", (refused(0, "there is no negative number of CPUs; docker refuses it, too"),)),
    Case("-c 512", sees="cgroup:cpu"),
    Case("--cpu-shares 2048", sees="cgroup:cpu"),
    Case("--cpu-shares=-3 peer true"),
    Case("--cpu-period 50000 --cpu-quota 25000", sees="cgroup:cpu"),
    Case("--cpus 1 --cpu-quota 25000 peer true"),
    Case("--cpuset-cpus 0", sees="cgroup:cpuset status:Cpus_allowed_list"),
    Case("--cpuset-cpus 0 --cpuset-mems 0", sees="cgroup:cpuset status:Mems_allowed_list"),
    Case("--cpuset-cpus 4000 peer true"),
    Case("--cpuset-cpus one peer true"),
    # Processes
    Case("--pids-limit 37", sees="cgroup:pids"),
    Case("--pids-limit -1", sees="cgroup:pids"),
    Case("--pids-limit 0", sees="cgroup:pids"),
    Case("--pids-limit few peer true"),
    Case("--oom-score-adj 500", sees="oom"),
    Case("--oom-score-adj 5000 peer true", (refused(126, BEFORE_THE_RUNTIME),)),
    # Limits
    Case("--ulimit nofile=100", sees="limit:open_files"),
    Case("--ulimit nofile=100:200", sees="limit:open_files"),
    Case("--ulimit core=0 --ulimit fsize=1048576:2097152", sees="limit:core_file limit:file_size"),
    Case("--ulimit nproc=512:1024", sees="limit:processes"),
    Case("--ulimit core=-1", sees="limit:core_file"),
    Case("--ulimit nofile=200:100 peer true"),
    Case("--ulimit nothing=1 peer true"),
    Case("--ulimit nofile peer true"),
    Case("--ulimit nofile=many peer true"),
    # Block devices
    Case("--device-read-bps {disk}:1mb", sees="cgroup:blkio"),
    Case("--device-write-bps {disk}:1048576", sees="cgroup:blkio"),
    Case("--device-read-iops {disk}:100 --device-write-iops {disk}:200", sees="cgroup:blkio"),
    Case("--device-read-bps /dev/missing:1mb peer true"),
    Case("--device-read-bps {disk} peer true"),
    Case("--blkio-weight 5 peer true", (refused(0, NOT_IGNORED),)),
    # Shared memory
    Case("--shm-size 1m", sees="mount:/dev/shm"),
    Case("--shm-size 128k", sees="mount:/dev/shm"),
    Case("--shm-size big peer true"),
    Case("--shm-size 0 peer true", (refused(0, "podman mounts a tmpfs of size 0, which is one without a limit"),)),
    # Where the cgroup is
    Case("--cgroupns host --cgroup-parent /differential", sees="membership"),
    Case("--cgroup-parent differential peer true"),
)
