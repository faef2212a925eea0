"""The process: command, user, environment, directory, and what it ends with."""

from __future__ import annotations

from differential.case import Case, differs, exits, not_shown, only_shown, refused

ENVIRONMENT = """\ufeff# a comment
PLAIN=value
  LEADING=blanks
TRAILING=blanks\x20\x20
QUOTED="as it is"
HASH=a#b
FROM_HOST
MISSING

EMPTY=
"""
OUR_FAULT = "125 is prun's own failure, and docker's (features.md section 2); podman counts it as the command's, 126"
HALF = "half a value is a mistake, and refused (security.md: 'root:', ':0')"
DIRECTORY_IS_MADE = "docker makes the directory; podman 4.3.1 makes only the image's own"

PROCESS = (
    # What the process ends with
    Case("peer true"),
    Case("peer false"),
    Case("peer sh -c 'exit 3'"),
    Case("peer sh -c 'exit 200'"),
    Case("--init peer sh -c 'kill -9 $$'"),
    Case("peer sh -c 'kill -15 $$; sleep 1; exit 7'"),
    Case("--init peer sh -c 'kill -15 $$; sleep 1; exit 7'"),
    Case("--init peer sh -c 'exit 4'"),
    Case("peer missing-command"),
    Case("peer /etc/missing"),
    Case("peer /etc"),
    Case("peer /etc/not-executable"),
    Case(
        "peer /etc/no-format",
        (exits(126, 1, "found, but in no format the kernel knows; podman hands on what runc's last step ended with"),),
    ),
    Case(
        "peer /etc/no-interpreter",
        (exits(126, 1, "found, but not to be invoked; podman hands on what runc's last step ended with"),),
    ),
    Case(
        "--timeout 1 peer sleep 20",
        (exits(137, 255, "a process that is killed ends with 128 + 9; podman 4.3.1 says 255"),),
    ),
    Case("--timeout 10 peer sh -c 'exit 5'"),
    # The command
    Case("peer echo -v --rm -- x"),
    Case("peer sh -c 'echo $0 $#' -- --env A=B"),
    Case("configured"),
    Case("configured umask"),
    Case("--entrypoint echo configured"),
    Case("--entrypoint echo configured words"),
    Case("--entrypoint '' configured echo words"),
    Case("--entrypoint '' configured"),
    Case("""--entrypoint '["sh", "-c", "echo $0 $1"]' configured a b"""),
    Case("--entrypoint 'echo words' configured"),
    Case("peer cat", stdin="not given without -i\n"),
    Case("-i peer cat", stdin="given\nwith two lines\n"),
    Case("--interactive=false peer cat", stdin="not given\n"),
    Case("-a stdout peer sh -c 'echo out; echo err >&2'"),
    Case("-a stderr peer sh -c 'echo out; echo err >&2'"),
    Case("-a stdin -a stdout -i peer cat", stdin="given\n"),
    Case("-a stdnone peer true"),
    Case("--preserve-fds 1 peer sh -c 'cat <&3'", files={"three": "descriptor three\n"}, descriptor="three"),
    Case("peer sh -c 'cat <&3'", files={"three": "descriptor three\n"}, descriptor="three"),
    # A terminal
    Case("-t peer sh -c 'test -t 0 && test -t 1 && tty'"),
    Case("--tty", sees="env:TERM stat:/dev/console"),
    Case("-t -e TERM=dumb", sees="env:TERM"),
    Case("-it peer true", (refused(0, "docker refuses, where standard input is no terminal; podman warns"),)),
    # Files for the caller
    Case("--cidfile {dir}/id peer true", leaves=("id",)),
    Case("--cidfile {dir}/there peer true", files={"there": "before\n"}, leaves=("there",)),
    Case("--pidfile {dir}/pid peer sh -c 'exit 0'", leaves=("pid",)),
    # The user
    Case("-u bob", sees="id env:HOME status:Groups"),
    Case("--user 1000", sees="id env:HOME status:Groups"),
    Case("--user 1000:50", sees="id status:Groups"),
    Case("--user bob:audio", sees="id status:Groups"),
    Case(
        "--user :staff",
        (refused(0, HALF), not_shown("id", "uid 0 gid 50 groups 50", HALF)),
        sees="id",
    ),
    Case("--user 4000", sees="id env:HOME status:CapEff"),
    Case("--user 4000:4001", sees="id status:Groups"),
    Case("--user nohome", sees="id env:HOME cwd"),
    Case("--user nobody-here peer true", (refused(126, OUR_FAULT),)),
    Case("--user bob:nogroup-here peer true", (refused(126, OUR_FAULT),)),
    Case("--user -1 peer true", (refused(126, OUR_FAULT),)),
    Case("--user 4294967296 peer true", (refused(126, OUR_FAULT),)),
    Case("--user 0x0 peer true", (refused(126, OUR_FAULT),)),
    Case("--group-add staff --group-add 7", sees="id"),
    Case("--user bob --group-add staff", sees="id"),
    Case("--user 1000:1000 --group-add 4000", sees="id"),
    Case("--group-add nogroup-here peer true", (refused(126, OUR_FAULT),)),
    # The directory
    Case("-w /data", sees="cwd"),
    Case(
        "-w /made/for/it",
        (
            exits(0, 126, DIRECTORY_IS_MADE),
            only_shown("cwd", "/made/for/it", DIRECTORY_IS_MADE),
            only_shown("stat:/made/for/it", "/made/for/it: directory 755 0:0 0,0", DIRECTORY_IS_MADE),
        ),
        sees="cwd stat:/made/for/it",
    ),
    Case("-w relative peer true", (refused(126, OUR_FAULT),)),
    Case("-w /etc/passwd peer true", (refused(126, OUR_FAULT),)),
    Case(
        "-w /proc/self peer true",
        (refused(0, "a directory below /proc may lead out of the container (CVE-2024-21626)"),),
    ),
    # The environment
    Case("-e A=1 --env B= --env 'C=two words' -e D==x", sees="given"),
    Case("-e FROM_HOST -e MISSING", sees="given"),
    Case("-e 'FROM_*'", sees="given"),
    Case("-e =value peer true"),
    Case("-e 'A=b\nc'", sees="given"),
    Case("-e PATH=/nowhere peer true"),
    Case("--env-file {dir}/environment", sees="given", files={"environment": ENVIRONMENT}),
    Case(
        "--env-file {dir}/a --env-file {dir}/b -e ONE=flag",
        sees="given",
        files={"a": "ONE=a\nTWO=a\nTHREE=a\n", "b": "TWO=b\n"},
    ),
    Case(
        "--env-file {dir}/environment peer true",
        (refused(0, "docker refuses a name with a blank in it; podman takes it"),),
        files={"environment": "WITH BLANK=1\n"},
    ),
    Case("--env-file {dir}/unnamed peer true", files={"unnamed": "=1\n"}),
    Case("--env-file {dir}/missing peer true"),
    Case(
        "--env-host",
        (
            differs(
                "env:PATH",
                prun="PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                podman="PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                because="the image's variables come after the host's, says podman-run(1); podman 4.3.1 does not",
            ),
        ),
        sees="env:FROM_HOST env:FROM_HOST_TOO env:PATH env:HOME",
    ),
    Case("--env-host -e FROM_HOST=flag", sees="env:FROM_HOST"),
    Case("--entrypoint '' --unsetenv FROM_IMAGE --unsetenv PATH configured /bin/probe given env:PATH"),
    Case("--entrypoint '' -e OVERRIDDEN=flag -e FROM_IMAGE configured probe env:OVERRIDDEN env:FROM_IMAGE"),
    Case("-u bob -e HOME=/elsewhere", sees="env:HOME"),
    # The mask and the clock
    Case("--umask 077", sees="umask"),
    Case("--umask 0027", sees="umask"),
    Case("--umask 9 peer true"),
    Case("--umask 01777 peer true"),
    Case("--tz UTC peer date +%Z"),
    Case("--tz Asia/Tokyo peer date +%Z%z"),
    Case("--tz Nowhere/Atall peer true"),
    # The first process
    Case(
        "--init",
        (differs("first:1", prun="prun-init", podman="podman-init", because="each has a name of its own"),),
        sees="first:1",
    ),
    # The command line itself
    Case("--no-such-option peer true"),
    Case("-m"),
    Case(""),
    Case("--pull=never no-such-image:1 true"),
    Case("'Not An Image' true"),
    Case("--pull never no-such-image true"),
    Case("--pull sometimes peer true"),
    Case("--pull never peer true"),
    Case("--rm=perhaps peer true"),
    Case("-q --pull missing peer echo quiet"),
    Case("-ie A=1", sees="env:A"),
    Case("--name 'not/a name' peer true"),
    Case("--label-file {dir}/labels peer true", files={"labels": "# one\ncolour=blue\nempty\n"}),
    Case("--label-file {dir}/missing peer true"),
    Case("--detach-keys ctrl-x,x peer true"),
    Case("--detach-keys ctrl-xx peer true", (refused(126, OUR_FAULT),)),
    Case("--sig-proxy=false peer true"),
    Case("--stop-signal SIGUSR1 peer true"),
    Case("--stop-signal SIGNOTHING peer true"),
)
