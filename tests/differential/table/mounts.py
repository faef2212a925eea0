"""File systems: bind mounts, volumes, tmpfs, the read-only root."""

from __future__ import annotations

from differential.case import Case, Difference, differs, exits, only_shown, refused

TREE = {"data/file": "of the host\n", "data/below/file": "below\n"}
OF_THE_IMAGE = """/data/directory: directory 2775 1000:50 0,0
/data/file: regular file 640 1000:1000 0,0
/data/link: symbolic link 777 1000:1000 0,0"""
SOURCE_IS_MADE = "docker makes a missing directory of the host for -v; podman does not"
VOLUME_BY_DEFAULT = "docker's default type is a volume; podman 4.3.1 has none"
OWNERS = "docker takes uid= and gid= of a tmpfs; podman 4.3.1 does not"
READ_ONLY = "read-only is read-only, as for docker; podman adds tmpfs that may be written"
DOCKERS_KEY = "a key of docker's; podman 4.3.1 does not know it"
GIVEN_AFTER_THE_COPY = "what a new volume is filled with is given to the user, too; podman 4.3.1 gives it before"
VOLUME = ("volume create kept",)
NO_VOLUME = ("volume rm --force kept",)


def without_exec(access: str, more: str = "") -> Difference:
    """A tmpfs on /mnt."""
    return differs(
        "mount:/mnt",
        prun=f"/mnt tmpfs {access},nosuid,nodev,noexec{more}",
        podman=f"/mnt tmpfs {access},nosuid,nodev{more}",
        because="noexec, as docker and podman-run(1) have it; podman 4.3.1 does not",
    )


def plain(point: str, access: str) -> Difference:
    """A volume."""
    return differs(
        f"mount:{point}",
        prun=f"{point} disk {access}",
        podman=f"{point} disk {access},nosuid,nodev",
        because="a volume is mounted as docker mounts it; podman adds nosuid and nodev",
    )


MOUNTS = (
    # -v with a directory of the host
    Case("-v {dir}/data:/mnt", sees="mount:/mnt file:/mnt/file write:/mnt", files=TREE, leaves=("data/written",)),
    Case("-v {dir}/data:/mnt:ro", sees="mount:/mnt file:/mnt/below/file write:/mnt", files=TREE),
    Case("-v {dir}/data:/mnt:rw", sees="mount:/mnt write:/mnt", files=TREE),
    Case("-v ./data:/mnt", sees="file:/mnt/file", files=TREE),
    Case("-v {dir}/data/file:/mnt/a/file", sees="mount:/mnt/a/file file:/mnt/a/file", files=TREE),
    Case("-v {dir}/data:/mnt:ro,rprivate", sees="mount:/mnt", files=TREE),
    Case("-v {dir}/data:/mnt:ro,noexec,nosuid,nodev", sees="mount:/mnt", files=TREE),
    Case("-v {dir}/data:/mnt:exec,dev,suid", sees="mount:/mnt", files=TREE),
    Case("-v {dir}/data:/mnt:z", sees="file:/mnt/file", files=TREE),
    Case("-v {dir}/data:/data", sees="file:/data/file", files=TREE),
    Case("-v {dir}/data:/mnt/../over", sees="mount:/over", files=TREE),
    Case(
        "-v {dir}/data:/a -v {dir}/data/below:/a/inner:ro",
        sees="mount:/a mount:/a/inner write:/a/inner",
        files=TREE | {"data/inner/x": ""},
    ),
    Case(
        "-v {dir}/missing:/mnt",
        (exits(0, 125, SOURCE_IS_MADE), only_shown("stat:/mnt", "/mnt: directory 755 0:0 0,0", SOURCE_IS_MADE)),
        sees="stat:/mnt",
    ),
    Case("-v {dir}/data:relative peer true", files=TREE),
    Case("-v {dir}/data:/mnt:nonsense peer true", files=TREE),
    Case("-v {dir}/data:/mnt:ro,rw peer true", files=TREE),
    Case("-v {dir}/data:/mnt:ro:rw peer true", files=TREE),
    Case("-v {dir}/data:/mnt -v {dir}/data/below:/mnt peer true", files=TREE),
    Case("-v '' peer true"),
    Case(
        "-v {dir}/data:/ peer true",
        (refused(127, "docker refuses / as a destination; podman hides the image below the mount"),),
        files=TREE,
    ),
    # -v with a volume
    Case(
        "-v kept:/mnt",
        (plain("/mnt", "rw"),),
        sees="mount:/mnt stat:/mnt write:/mnt",
        before=VOLUME,
        after=NO_VOLUME,
    ),
    Case(
        "-v kept:/mnt:ro",
        (plain("/mnt", "ro"),),
        sees="mount:/mnt write:/mnt",
        before=VOLUME,
        after=NO_VOLUME,
    ),
    Case("-v kept:/data", sees="list:/data file:/data/file stat:/data", after=NO_VOLUME),
    Case("-v kept:/data:nocopy", sees="list:/data", after=NO_VOLUME),
    Case("-v kept:/data:ro", sees="list:/data", after=NO_VOLUME),
    Case(
        "-v kept:/mnt peer cat /mnt/file",
        before=("run -v kept:/mnt peer tee /mnt/file",),
        after=NO_VOLUME,
    ),
    Case(
        "-v kept:/data peer ls /data",
        before=("run -v kept:/data peer rm /data/file",),
        after=NO_VOLUME,
    ),
    Case("-v /data", sees="list:/data stat:/data"),
    Case("-v /new", sees="list:/new stat:/new write:/new"),
    Case("-v 'bad/name:/mnt' peer true"),
    Case("-v '..:/mnt' peer ls /mnt", files={"here": ""}),
    Case("-v kept:mnt peer true", after=NO_VOLUME),
    Case(
        "--entrypoint probe configured mount:/data list:/data stat:/data",
        (plain("/data", "rw"),),
    ),
    Case("--entrypoint probe -v {dir}/data:/data configured file:/data/file", files={"data/file": "of the host\n"}),
    Case(
        "--volumes-from companion",
        sees="file:/mnt/file write:/mnt mount:/mnt",
        beside="-v {dir}/data:/mnt peer sh -c 'echo; exec cat'",
        files=TREE,
    ),
    Case(
        "--volumes-from companion:ro",
        sees="file:/mnt/file write:/mnt",
        beside="-v {dir}/data:/mnt peer sh -c 'echo; exec cat'",
        files=TREE,
    ),
    Case("--volumes-from nobody peer true"),
    # --mount
    Case("--mount type=bind,source={dir}/data,target=/mnt", sees="mount:/mnt file:/mnt/file write:/mnt", files=TREE),
    Case("--mount type=bind,src={dir}/data,dst=/mnt,readonly", sees="mount:/mnt write:/mnt", files=TREE),
    Case("--mount type=bind,src={dir}/data,destination=/mnt,ro=true", sees="mount:/mnt write:/mnt", files=TREE),
    Case("--mount type=bind,src={dir}/data,dst=/mnt,ro=false", sees="mount:/mnt write:/mnt", files=TREE),
    Case("--mount type=bind,src={dir}/data,dst=/mnt,bind-propagation=private", sees="mount:/mnt", files=TREE),
    Case("""--mount '"type=bind","src={dir}/a,b","dst=/mnt"'""", sees="file:/mnt/file", files={"a,b/file": "comma\n"}),
    Case("--mount type=bind,src={dir}/missing,dst=/mnt peer true"),
    Case("--mount type=bind,dst=/mnt peer true", (refused(0, "a bind mount needs a source, as for docker"),)),
    Case("--mount type=bind,src={dir}/data peer true", files=TREE),
    Case("--mount type=bind,src={dir}/data,dst=/mnt,colour=blue peer true", files=TREE),
    Case("--mount type=nothing,src={dir}/data,dst=/mnt peer true", files=TREE),
    Case("--mount type=volume,src=kept,dst=/data", sees="list:/data", after=NO_VOLUME),
    Case(
        "--mount src=kept,dst=/data",
        (exits(0, 125, VOLUME_BY_DEFAULT), only_shown("list:/data", OF_THE_IMAGE, VOLUME_BY_DEFAULT)),
        sees="list:/data",
        after=NO_VOLUME,
    ),
    Case("--mount type=volume,dst=/data", sees="list:/data"),
    Case("--mount type=volume,src=kept,dst=/mnt,ro", sees="write:/mnt", after=NO_VOLUME),
    Case(
        "--mount type=tmpfs,dst=/mnt",
        (without_exec("rw"),),
        sees="mount:/mnt stat:/mnt write:/mnt",
    ),
    Case(
        "--mount type=tmpfs,dst=/mnt,tmpfs-size=1m,tmpfs-mode=0700",
        (without_exec("rw", ",size=1024k,mode=700"),),
        sees="mount:/mnt stat:/mnt",
    ),
    Case("--mount type=tmpfs,dst=/mnt,src=/x peer true"),
    Case("--mount type=image,src=configured,dst=/mnt", sees="file:/mnt/data/file write:/mnt"),
    Case(
        "--pull never --mount type=image,src=missing-image,dst=/mnt peer true",
        (refused(126, "125 for prun's own failure; podman counts it as the command's"),),
    ),
    Case(
        "--mount type=bind,src={dir}/data,dst=/mnt,bind-recursive=disabled",
        (exits(0, 125, DOCKERS_KEY), only_shown("file:/mnt/file", "of the host", DOCKERS_KEY)),
        sees="file:/mnt/file",
        files=TREE,
    ),
    # podman's own
    Case("-u bob -v {dir}/data:/mnt:U", sees="stat:/mnt stat:/mnt/below/file write:/mnt", files=TREE),
    Case("-v {dir}/data:/mnt:O", sees="file:/mnt/file write:/mnt", files=TREE, leaves=("data/written",)),
    Case(
        "-v kept:/data:U -u 4000:4001",
        (
            differs(
                "stat:/data",
                prun="/data: directory 750 4000:4001 0,0",
                podman="/data: directory 750 1000:1000 0,0",
                because=GIVEN_AFTER_THE_COPY,
            ),
            differs("stat:/data/file", prun="/data/file: regular file 640 4000:4001 0,0", because=GIVEN_AFTER_THE_COPY),
        ),
        sees="stat:/data stat:/data/file",
        after=NO_VOLUME,
    ),
    Case("-v {dir}/data:/mnt:O,upperdir=/x peer true", files=TREE),
    Case("-u bob --mount type=bind,src={dir}/data,dst=/mnt,U=true", sees="stat:/mnt stat:/mnt/file", files=TREE),
    # --tmpfs
    Case(
        "--tmpfs /mnt",
        (without_exec("rw"),),
        sees="mount:/mnt stat:/mnt write:/mnt",
    ),
    Case(
        "--tmpfs /mnt:size=1m,mode=0750",
        (without_exec("rw", ",size=1024k,mode=750"),),
        sees="mount:/mnt stat:/mnt",
    ),
    Case("--tmpfs /mnt:rw,exec,size=64k", sees="mount:/mnt"),
    Case(
        "--tmpfs /mnt:ro",
        (without_exec("ro"),),
        sees="mount:/mnt write:/mnt",
    ),
    Case(
        "--tmpfs /mnt:uid=1000,gid=50",
        (exits(0, 125, OWNERS), only_shown("stat:/mnt", "/mnt: directory 1777 1000:50 0,0", OWNERS)),
        sees="stat:/mnt",
    ),
    Case(
        "--tmpfs /data",
        (
            differs(
                "list:/data",
                podman=OF_THE_IMAGE.replace("2775", "755"),
                because="docker's tmpfs begins empty; podman copies the image's content, without set-gid",
            ),
        ),
        sees="list:/data",
    ),
    Case("--tmpfs /mnt:nonsense peer true"),
    Case("--tmpfs relative peer true"),
    Case(
        "--tmpfs /mnt --tmpfs /mnt peer true",
        (refused(0, "one place has one mount, as with -v; podman takes the last"),),
    ),
    # The root
    Case(
        "--read-only",
        (
            differs("write:/tmp", prun="/tmp cannot", podman="/tmp can be written", because=READ_ONLY),
            differs("mount:/tmp", podman="/tmp tmpfs rw,nosuid,nodev", because=READ_ONLY),
            differs("mount:/var/tmp", podman="/var/tmp tmpfs rw,nosuid,nodev", because=READ_ONLY),
            differs(
                "mount:/run",
                prun="/run tmpfs rw,nosuid,size=65536k,mode=755",
                podman="/run tmpfs rw,nosuid,nodev",
                because="the seed's /run is there in any case",
            ),
        ),
        sees="write:/etc write:/tmp write:/run write:/dev/shm mount:/tmp mount:/run mount:/var/tmp",
    ),
    Case("--read-only --tmpfs /tmp", sees="write:/tmp write:/etc"),
    Case("--read-only -v {dir}/data:/mnt", sees="write:/mnt write:/etc", files=TREE),
    Case(
        "--read-only",
        podman_line="--read-only --read-only-tmpfs=false",
        sees="write:/tmp write:/etc write:/data write:/dev/shm",
    ),
    # Secrets are files in a tmpfs
    Case(
        "--secret kept",
        sees="file:/run/secrets/kept stat:/run/secrets/kept",
        before=("secret create kept three",),
        files={"three": "x\n"},
        after=("secret rm kept",),
    ),
)
