#!/bin/sh
# probe SECTION...: print what this process sees, each section under a line "== SECTION".
# A section is WORD or WORD:ARGUMENT; what does not exist prints nothing.
me=/proc/$$

# cgroup CONTROLLER: the settings that `run` can change, from a v1 or a v2 hierarchy mounted at /cgroup.
cgroup() {
    case $1 in
    memory) files='memory.limit_in_bytes memory.memsw.limit_in_bytes memory.soft_limit_in_bytes memory.max
        memory.swap.max memory.low' ;;
    cpu) files='cpu.shares cpu.cfs_quota_us cpu.cfs_period_us cpu.max cpu.weight' ;;
    cpuset) files='cpuset.cpus cpuset.mems' ;;
    pids) files='pids.max' ;;
    blkio) files='blkio.throttle.read_bps_device blkio.throttle.write_bps_device blkio.throttle.read_iops_device
        blkio.throttle.write_iops_device io.max' ;;
    devices) files='devices.list' ;;
    esac
    path=$(sed -n "s/^[0-9]*:$1:/\/cgroup\/$1/p" $me/cgroup)
    [ -n "$path" ] || path=$(sed -n 's/^0::/\/cgroup/p' $me/cgroup)
    for file in $files; do
        [ -r "$path/$file" ] && sed "s/^/$file: /" "$path/$file"
    done
}

for section; do
    echo "== $section"
    word=${section%%:*}
    argument=${section#*:}
    case $word in
    id) echo "uid $(id -u) gid $(id -g) groups $(id -G)" ;;
    umask) umask ;;
    cwd) readlink $me/cwd ;;
    environment) tr '\0' '\n' <$me/environ | sort ;;
    given) tr '\0' '\n' <$me/environ | grep -Ev '^(PATH|HOME|HOSTNAME|TERM|container)=' | sort ;;
    env) tr '\0' '\n' <$me/environ | grep "^$argument=" ;;
    status) grep "^$argument" $me/status ;;
    limits) cat $me/limits ;;
    limit) grep -i "^Max $(echo "$argument" | tr _ ' ') " $me/limits ;;
    mounts) cat $me/mountinfo ;;
    mount) while read -r line; do
        case $line in *" / $argument "* | *" /"*" $argument "*) echo "$line" ;; esac
    done <$me/mountinfo ;;
    file) cat "$argument" && echo ;;
    stat) stat -c '%n: %F %a %u:%g %t,%T' "$argument" ;;
    list) find "$argument" -mindepth 1 -maxdepth 1 -exec stat -c '%n: %F %a %u:%g %t,%T' {} + | sort ;;
    write) if (: >"$argument/written") 2>/dev/null; then echo "$argument can be written"; else echo "$argument cannot"; fi ;;
    read) if (: <"$argument") 2>/dev/null; then echo "$argument can be read"; else echo "$argument cannot"; fi ;;
    hostname) hostname ;;
    sysctl) cat "/proc/sys/$(echo "$argument" | tr . /)" ;;
    cgroup) cgroup "$argument" ;;
    membership) cat $me/cgroup ;;
    namespace) readlink "/proc/self/ns/$argument" ;;
    first) tr '\0' '\n' </proc/1/comm ;;
    maps) cat /proc/self/uid_map /proc/self/gid_map ;;
    oom) cat /proc/self/oom_score_adj ;;
    *) echo "probe knows no $section" ;;
    esac 2>/dev/null
done
exit 0
