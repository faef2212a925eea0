from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prun.errors import FailedPrecondition, InvalidArgument
from prun.request import fields_of, mount_options
from prun.request.mounts import (
    MountRequest,
    parse_mount,
    parse_tmpfs,
    parse_volume,
    parse_volumes_from,
    volume_name,
)

RW = ("rbind", "rprivate", "rw")
RO = ("rbind", "rprivate", "ro", "rro")
TMPFS = ("noexec", "nosuid", "nodev", "rw")


def bind(*options: str) -> MountRequest:
    return MountRequest("bind", "/a", "/b", options)


@pytest.fixture(autouse=True)
def _a_kernel_and_no_selinux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mount_options, "_RECURSIVE_READONLY", (0, 0))
    monkeypatch.setattr(mount_options, "_SELINUX", "/no/such/file")


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("/data", MountRequest("volume", "", "/data", RW, create=True)),
        ("/a:/b", MountRequest("bind", "/a", "/b", RW, create=True)),
        ("/a//../c/:/b/../d/", MountRequest("bind", "/c", "/d", RW, create=True)),
        ("/a:/b:ro", MountRequest("bind", "/a", "/b", RO, create=True)),
        ("/a:/b:z,rw", MountRequest("bind", "/a", "/b", RW, create=True)),
        ("/a:/b:bind,ro", MountRequest("bind", "/a", "/b", ("bind", "rprivate", "ro"), create=True)),
        ("/a:/b:rslave,noexec", MountRequest("bind", "/a", "/b", ("rbind", "rslave", "noexec", "rw"), create=True)),
        ("/a:/b:nocreate", MountRequest("bind", "/a", "/b", RW)),
        ("name:/b:nocopy", MountRequest("volume", "name", "/b", RW, create=True, copy=False)),
        ("a.b-c_1:/b:ro", MountRequest("volume", "a.b-c_1", "/b", RO, create=True)),
        ("/a:/b:cached", MountRequest("bind", "/a", "/b", RW, create=True)),
        ("/a:/b:U,z", MountRequest("bind", "/a", "/b", RW, create=True, owners="U")),
        ("/a:/b:O,U", MountRequest("bind", "/a", "/b", RW, create=True, owners="U", overlay=True)),
        ("name:/b:idmap,ro", MountRequest("volume", "name", "/b", RO, create=True, owners="idmap")),
    ],
)
def test_a_volume_is_read_as_docker_reads_it(word: str, expected: MountRequest) -> None:
    assert parse_volume(word) == expected


@pytest.mark.parametrize("word", [".:/b", "./:/b", "../x:/b", "~:/b", "~/x:/b"])
def test_a_relative_source_and_a_home_become_absolute(word: str) -> None:
    source = word.partition(":")[0]
    assert parse_volume(word).source == os.path.abspath(os.path.expanduser(source))
    assert parse_volume(word).type == "bind"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("", "is not .SOURCE"),
        (":/b", "is not .SOURCE"),
        ("/a:", "is not .SOURCE"),
        ("/a:/b:ro:x", "is not .SOURCE"),
        ("data", "must be absolute"),
        ("/a:b", "must be absolute"),
        ("/a:ro", "must be absolute"),
        ("/a:/", "cannot be '/'"),
        ("/a:/..", "cannot be '/'"),
        ("/a:/b/../..", "cannot be '/'"),
        ("/a:/b\n", "must be absolute"),
        ("/a\0:/b", "NUL"),
        ("a:/b", "volume name 'a'"),
        ("foo/bar:/b", "volume name 'foo/bar'"),
        ("-x1:/b", "volume name"),
        ("/a:/b:ro,rw", "ro and rw contradict"),
        ("/a:/b:rshared,slave", "contradict"),
        ("/a:/b:z,Z", "contradict"),
        ("/a:/b:nocopy", "'nocopy' is for volumes"),
        ("/a:/b:bogus", "invalid option 'bogus'"),
        ("/a:/b:RO", "invalid option 'RO'"),
        ("/a:/b:ro,", "invalid option ''"),
        ("/a:/b:U,idmap", "U and idmap contradict"),
        ("/a:/b:O,idmap", "O and idmap cannot be used together"),
        ("/a:/b:O,rshared", "O and rshared cannot be used together"),
        ("/a:/b:idmap,slave", "idmap and slave cannot be used together"),
        ("/a:/b:idmap=uids=0-1-2", "not supported"),
        ("/a:/b:O,upperdir=/c", "'upperdir=/c' .* is not supported"),
        ("/a:/b:no-dereference", "not supported"),
        ("~no-such-user/x:/b", "no home directory for '~no-such-user'"),
    ],
)
def test_a_volume_that_is_not_in_the_grammar_is_refused(word: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        parse_volume(word)


def test_labels_are_refused_where_there_is_selinux(monkeypatch: pytest.MonkeyPatch, tmp_path: os.PathLike[str]) -> None:
    monkeypatch.setattr(mount_options, "_SELINUX", tmp_path)
    with pytest.raises(InvalidArgument, match="an SELinux label"):
        parse_volume("/a:/b:Z")


def test_an_old_kernel_has_no_recursive_read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mount_options, "_RECURSIVE_READONLY", (99, 0))
    assert parse_volume("/a:/b:ro").options == ("rbind", "rprivate", "ro")
    with pytest.raises(FailedPrecondition, match=r"needs Linux 5\.12"):
        parse_mount("type=bind,src=/a,dst=/b,ro,bind-recursive=readonly")


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("type=bind,source=/a,target=/b", MountRequest("bind", "/a", "/b", RW)),
        ("TYPE=bind,SRC=/a,Destination=/b,ReadOnly", MountRequest("bind", "/a", "/b", RO)),
        ("type=bind,src=/a,dst=/b,ro=true", MountRequest("bind", "/a", "/b", RO)),
        ("type=bind,src=/a,dst=/b,readonly=0", MountRequest("bind", "/a", "/b", RW)),
        ("type=bind,src=/a,dst=/b,bind-create-src", MountRequest("bind", "/a", "/b", RW, create=True)),
        ("type=bind,src=/a,dst=/b,bind-create-src=false", MountRequest("bind", "/a", "/b", RW)),
        ("type=bind,src=/a,dst=/b,bind-propagation=rshared", bind("rbind", "rshared", "rw")),
        ("type=bind,src=/a,dst=/b,bind-recursive=disabled", bind("bind", "rprivate", "rw")),
        ("type=bind,src=/a,dst=/b,bind-nonrecursive", bind("bind", "rprivate", "rw")),
        ("type=bind,src=/a,dst=/b,ro,bind-recursive=writable", bind("rbind", "rprivate", "ro")),
        ("type=bind,src=/a,dst=/b,ro,bind-recursive=readonly", MountRequest("bind", "/a", "/b", RO)),
        ('type=bind,"src=/a,""x""",dst=/b', MountRequest("bind", '/a,"x"', "/b", RW)),
        ("type=bind,src=/a:x,dst=/b=c", MountRequest("bind", "/a:x", "/b=c", RW)),
        ("type=bind,src=/a,dst=/b,relabel=shared,consistency=cached", MountRequest("bind", "/a", "/b", RW)),
        ("dst=/b", MountRequest("volume", "", "/b", RW, create=True)),
        ("type=volume,src=vv,dst=/b,volume-nocopy", MountRequest("volume", "vv", "/b", RW, create=True, copy=False)),
        ("src=vv,dst=/b,volume-subpath=x/./y", MountRequest("volume", "vv", "/b", RW, subpath="x/y", create=True)),
        (
            'src=vv,dst=/b,"volume-opt=o=uid=1,size=1m",volume-opt=type=tmpfs,volume-label=a=b,volume-label=c',
            MountRequest("volume", "vv", "/b", RW, create=True, labels={"a": "b", "c": ""},
                         driver_options={"o": "uid=1,size=1m", "type": "tmpfs"}),
        ),
        ("type=bind,src=/a,dst=/b,U", MountRequest("bind", "/a", "/b", RW, owners="U")),
        ("type=bind,src=/a,dst=/b,chown=true", MountRequest("bind", "/a", "/b", RW, owners="U")),
        ("type=bind,src=/a,dst=/b,U=false,idmap", MountRequest("bind", "/a", "/b", RW, owners="idmap")),
        ("type=tmpfs,dst=/b", MountRequest("tmpfs", "", "/b", TMPFS)),
        (
            "type=tmpfs,dst=/b,tmpfs-size=1.5k,tmpfs-mode=770",
            MountRequest("tmpfs", "", "/b", (*TMPFS, "size=1536", "mode=770")),
        ),
        ("type=tmpfs,dst=/b,ro,exec", MountRequest("tmpfs", "", "/b", ("exec", "nosuid", "nodev", "ro"))),
        ("type=image,src=bb:1,dst=/b", MountRequest("image", "bb:1", "/b", RO)),
        ("type=image,src=bb,dst=/b,rw,image-subpath=etc", MountRequest("image", "bb", "/b", RW, subpath="etc")),
        ("type=image,src=bb,dst=/b,subpath=etc", MountRequest("image", "bb", "/b", RO, subpath="etc")),
    ],
)  # fmt: skip
def test_a_mount_is_read_as_docker_reads_it(word: str, expected: MountRequest) -> None:
    assert parse_mount(word) == expected


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("", "unexpected key ''"),
        ("type=bind,src=/a", "target is required"),
        ("type=bind,dst=/b", "source is required"),
        ("type=image,dst=/b", "source is required"),
        ("type=bind,src=/a,dst=b", "must be absolute"),
        ("type=tmpfs,dst=/b,src=/a", "a tmpfs has no source"),
        ("type=foo,dst=/b", "type 'foo' is not known"),
        ("type=glob,src=/a*,dst=/b", "type 'glob' are not supported"),
        ("type=devpts,dst=/b", "not supported"),
        ("type=bind,src=/a,dst=/b,volume-nocopy", "volume-nocopy does not go with type=bind"),
        ("type=volume,dst=/b,tmpfs-size=1m", "does not go with type=volume"),
        ("type=tmpfs,dst=/b,bind-propagation=shared", "does not go with type=tmpfs"),
        ("type=bind,src=/a,dst=/b,dst=/c", "dst is given twice"),
        ("type=bind,src=/a,source=/c,dst=/b", "source is given twice"),
        ("type=bind,src=/a,dst=/b,options=rbind:ro", "unexpected key 'options'"),
        ("type=bind,src=/a,dst=/b,bogus", "unexpected key 'bogus'"),
        ("type=bind,src=/a,dst", "must be a key=value pair"),
        ("type=bind,src=/a,dst=/b,ro=maybe", "invalid value for ro: 'maybe'"),
        ("type=bind,src=/a,dst=/b,bind-propagation=x", "invalid option 'x'"),
        ("type=bind,src=/a,dst=/b,bind-recursive=x", "bind-recursive='x' is not known"),
        ("type=bind,src=/a,dst=/b,bind-recursive=readonly", "needs readonly"),
        ("type=bind,src=/a,dst=/b,bind-recursive=writable", "needs readonly"),
        ("type=bind,src=/a,dst=/b,ro,bind-recursive=readonly,bind-propagation=rslave", "bind-propagation=rprivate"),
        ("type=bind,src=/a,dst=/b,ro,rw", "contradict"),
        ("type=bind,src=/a,dst=/b,O", "unexpected key 'o'"),
        ("type=bind,src=/a,dst=/b,idmap=uids=0-1-2", "invalid value for idmap"),
        ("type=bind,src=/a,dst=/b,no-dereference", "not supported"),
        ("type=image,src=bb,dst=/b,U", "U does not go with type=image"),
        ("type=tmpfs,dst=/b,idmap", "invalid tmpfs option 'idmap'"),
        ("type=volume,dst=/b,volume-driver=nfs", "volume driver 'nfs' is not known"),
        ("type=volume,src=vv,dst=/b,volume-subpath=../x", "subpath '../x'"),
        ("type=volume,src=vv,dst=/b,volume-subpath=/x", "subpath '/x'"),
        ("type=image,src=bb,dst=/b,image-subpath=a/../..", "subpath"),
        ("type=volume,dst=/b,volume-opt=x", "'x' is not KEY=VALUE"),
        ("type=tmpfs,dst=/b,tmpfs-size=x", "tmpfs-size 'x' is not a size"),
        ("type=tmpfs,dst=/b,tmpfs-mode=9", "mode='9' is not usable"),
        ('type=bind,src=/a"b,dst=/b', "a quote is not at"),
        ('type=bind,"src=/a,dst=/b', "a quote is not at"),
        ('type=bind,"src=/a"x,dst=/b', "a quote is not at"),
    ],
)
def test_a_mount_that_is_not_in_the_grammar_is_refused(word: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        parse_mount(word)


@pytest.mark.parametrize(
    ("word", "options"),
    [
        ("/t", TMPFS),
        ("/t:size=64m,mode=1777", (*TMPFS, "size=64m", "mode=1777")),
        ("/t:exec,suid,dev,ro", ("exec", "suid", "dev", "ro")),
        ("/t:size=50%,uid=1,gid=2,nr_inodes=1k", (*TMPFS, "size=50%", "uid=1", "gid=2", "nr_inodes=1k")),
        ("/t:tmpcopyup", (*TMPFS, "tmpcopyup")),
        ("/t:notmpcopyup", TMPFS),
    ],
)
def test_a_tmpfs_has_dockers_defaults(word: str, options: tuple[str, ...]) -> None:
    assert parse_tmpfs(word) == MountRequest("tmpfs", "", "/t", options)


@pytest.mark.parametrize(
    "word", ["", "t", "/", "/t:bogus", "/t:size=", "/t:size=1x", "/t:mode=8", "/t:uid=bob", "/t:size", "/t:mode=07777x",
             "/t:huge=always", "/t:size=٣"],
)  # fmt: skip
def test_a_bad_tmpfs_is_refused(word: str) -> None:
    with pytest.raises(InvalidArgument, match="--tmpfs"):
        parse_tmpfs(word)


@pytest.mark.parametrize(("word", "expected"), [("c", ("c", False)), ("c:ro", ("c", True)), ("c:rw,z", ("c", False))])
def test_volumes_from_names_a_container_and_perhaps_read_only(word: str, expected: tuple[str, bool]) -> None:
    assert parse_volumes_from(word) == expected


@pytest.mark.parametrize("word", ["", ":ro", "c:", "c:x", "c:ro,rw", "c:rslave", "c:ro:x"])
def test_volumes_from_takes_nothing_else(word: str) -> None:
    with pytest.raises(InvalidArgument, match="--volumes-from"):
        parse_volumes_from(word)


@pytest.mark.parametrize(
    "asked",
    [
        {"volume": ("/a:/x", "vv:/x/")},
        {"volume": ("/a:/x",), "tmpfs": ("/x",)},
        {"mount": ("type=tmpfs,dst=/x",), "tmpfs": ("/y/../x:size=1m",)},
    ],
)
def test_two_mounts_at_one_place_are_refused(asked: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(InvalidArgument, match="duplicate mount point: /x"):
        fields_of(asked)


def test_the_fields_hold_all_mounts_in_the_order_of_the_options() -> None:
    fields = fields_of({"volume": ("/a:/x", "/c"), "tmpfs": ("/t",), "mount": ("dst=/m",), "volumes_from": ("c:ro",)})
    volumes = fields["volumes"]
    assert isinstance(volumes, tuple)
    assert [mount.destination for mount in volumes] == ["/x", "/c", "/m", "/t"]
    assert fields["volumes_from"] == ("c:ro",)


@pytest.mark.parametrize("name", ["ab", "A9", "0_", "a" * 255, "x.y-z"])
def test_a_volume_name_is_dockers(name: str) -> None:
    assert volume_name(name) == name


@pytest.mark.parametrize("name", ["", "a", ".x", "_x", "a b", "a/b", "../x", "a\n", "é1", "a" * 256, "'; DROP"])
def test_a_name_that_no_volume_may_have_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument, match="volume name"):
        volume_name(name)


WORDS = st.text(st.sampled_from('/.~:,="abcro \n\0zZUéx'), max_size=24) | st.text(max_size=12)


@given(WORDS)
def test_any_words_are_parsed_or_refused_and_what_comes_out_is_clean(word: str) -> None:
    for parse in (parse_volume, parse_mount, parse_tmpfs, lambda rest: parse_mount("type=bind,src=/a,dst=" + rest)):
        try:
            mount = parse(word)
        except InvalidArgument:
            continue
        parts = mount.destination.split("/")
        assert mount.destination.startswith("/")
        assert not {"", ".", ".."} & set(parts[1:])
        assert not set("\0\n") & set(mount.destination + mount.source)
        assert mount.type != "bind" or os.path.isabs(mount.source)


@given(st.lists(st.text(st.characters(exclude_characters="\0\n"), max_size=9), min_size=1, max_size=3))
def test_a_quoted_path_comes_back_as_it_went(names: list[str]) -> None:
    path = "/" + "/".join(names)
    quoted = path.replace('"', '""')
    assert parse_mount(f'type=bind,dst=/b,"src={quoted}"').source == os.path.abspath(path)


@pytest.mark.parametrize(
    ("word", "expected"),
    [("rw=false", "ro"), ("rw=true", "rw"), ("readonly=false", "rw"), ("exec=false", "noexec"), ("nodev=false", "dev"),
     ("suid=0", "nosuid")],
)  # fmt: skip
def test_a_flag_that_is_false_says_the_opposite(word: str, expected: str) -> None:
    assert expected in fields_of({"mount": (f"type=volume,src=vol,dst=/d,{word}",)})["volumes"][0].options  # type: ignore[index]


@pytest.mark.parametrize("word", ["uid=4294967295", "gid=9999999999", "mpol=bogus", "mpol=bind", "mpol=local:1"])
def test_a_tmpfs_option_that_no_kernel_takes_is_refused(word: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_tmpfs(f"/a:{word}")


@pytest.mark.parametrize("word", ["uid=4294967294", "mpol=default", "mpol=bind=static:0-1", "mpol=prefer:0"])
def test_a_tmpfs_option_that_the_kernel_takes_is_kept(word: str) -> None:
    assert word in parse_tmpfs(f"/a:{word}").options
