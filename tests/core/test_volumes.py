"""Volumes without mounts and without root; what needs them is in tests/integration/test_volumes.py."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from prun.engines.embedded.mounts import IMAGE_VOLUMES, plan
from prun.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, PrunError
from prun.metadata import MountRow, VolumeRow
from prun.request.mounts import MountRequest, parse_volume
from prun.state import Store
from prun.types import Image, Mount, Platform, RunRequest
from prun.volumes import device

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REQUEST = RunRequest("a" * 64, "busybox", name="c", runtime="fake")
PLATFORM = Platform("linux", "amd64")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(str(tmp_path / "root"), str(tmp_path / "state")) as opened:
        yield opened


@pytest.fixture
def content(tmp_path: Path) -> Iterator[int]:
    """A directory as an image might have it."""
    path = tmp_path / "content"
    (path / "sub").mkdir(parents=True)
    (path / "file").write_text("data")
    (path / "file").chmod(0o640)
    os.link(path / "file", path / "sub" / "hard")
    (path / "link").symlink_to("/etc/passwd")
    path.chmod(0o1770)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def mounted(container_id: str, name: str, destination: str = "/d") -> MountRow:
    return MountRow(container_id, destination, "volume", name)


def test_a_volume_is_made_once_and_found_again(store: Store) -> None:
    row = store.volumes.create(VolumeRow("vol", labels={"a": "b"}))
    assert store.volumes.create(VolumeRow("vol", labels={"x": "y"})) == row
    assert store.volumes.find("vol") == row
    assert os.stat(store.volumes.mountpoint("vol")).st_mode & 0o7777 == 0o755
    assert [each.name for each in store.metadata.volumes()] == ["vol"]


def test_a_volume_with_other_options_is_another_volume(store: Store) -> None:
    store.volumes.create(VolumeRow("vol"))
    with pytest.raises(AlreadyExists, match="volume vol exists with other options"):
        store.volumes.create(VolumeRow("vol", options={"type": "tmpfs", "device": "tmpfs"}))


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".new", "'; DROP TABLE volumes; --"])
def test_a_crafted_name_makes_nothing(store: Store, name: str) -> None:
    with pytest.raises(InvalidArgument, match="volume name"):
        store.volumes.create(VolumeRow(name))
    assert not os.path.exists(store.volumes.path)


def test_an_empty_volume_gets_the_content_with_its_owner_mode_and_links(store: Store, content: int) -> None:
    store.volumes.open(VolumeRow("vol"), content)
    data = store.volumes.mountpoint("vol")
    assert sorted(os.listdir(data)) == ["file", "link", "sub"]
    assert os.stat(data).st_mode & 0o7777 == 0o1770
    assert os.stat(f"{data}/file").st_mode & 0o7777 == 0o640
    assert os.path.samefile(f"{data}/file", f"{data}/sub/hard")
    assert os.readlink(f"{data}/link") == "/etc/passwd"
    assert os.listdir(f"{store.volumes.path}/.new") == []


def test_a_volume_with_content_keeps_it(store: Store, content: int) -> None:
    store.volumes.open(VolumeRow("vol"))
    with open(os.path.join(store.volumes.mountpoint("vol"), "mine"), "w") as file:
        file.write("x")
    store.volumes.open(VolumeRow("vol"), content)
    assert os.listdir(store.volumes.mountpoint("vol")) == ["mine"]


def test_a_volume_that_another_container_has_open_is_filled_in_place(store: Store, content: int) -> None:
    with store.container(REQUEST), store.container(REQUEST._replace(id="b" * 64, name="d")):
        store.metadata.add_mounts([mounted("a" * 64, "vol"), mounted("b" * 64, "vol")])
        store.volumes.open(VolumeRow("vol"))
        before = os.stat(store.volumes.mountpoint("vol")).st_ino
        store.volumes.open(VolumeRow("vol"), content)
        assert os.stat(store.volumes.mountpoint("vol")).st_ino == before
        assert "file" in os.listdir(store.volumes.mountpoint("vol"))


def test_many_at_once_fill_a_volume_once(store: Store, content: int) -> None:
    errors: list[Exception] = []

    def fill() -> None:
        try:
            with Store(store.root, store.state) as own:
                own.volumes.open(VolumeRow("vol"), content)
        except (PrunError, OSError) as error:
            errors.append(error)

    threads = [threading.Thread(target=fill) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sorted(os.listdir(store.volumes.mountpoint("vol"))) == ["file", "link", "sub"]


def test_a_volume_in_use_is_not_removed_and_its_user_is_named(store: Store) -> None:
    store.volumes.create(VolumeRow("vol"))
    with store.container(REQUEST):
        store.metadata.add_mounts([mounted(REQUEST.id, "vol")])
        with pytest.raises(FailedPrecondition, match=r"in use by container c \(aaaaaaaaaaaa\)"):
            store.volumes.remove("vol")
    store.volumes.remove("vol")
    assert store.metadata.volumes() == []
    assert not os.path.exists(f"{store.volumes.path}/vol")
    with pytest.raises(NotFound, match="no such volume: vol"):
        store.volumes.remove("vol")


def test_only_anonymous_volumes_of_one_container_alone_go_with_it(store: Store) -> None:
    other = REQUEST._replace(id="b" * 64, name="d")
    with store.container(other):
        with store.container(REQUEST):
            rows = [mounted(REQUEST.id, name, f"/{name}") for name in ("named", "anon", "shared")]
            store.metadata.add_mounts([*rows, mounted(other.id, "shared")])
            for name in ("named", "anon", "shared"):
                store.volumes.open(VolumeRow(name, anonymous=name != "named"))
        # It never started, so that it is gone.
        assert [row.name for row in store.metadata.volumes()] == ["named", "shared"]
    assert [row.name for row in store.metadata.volumes()] == ["named"]


def test_what_a_killed_process_left_goes_and_content_without_a_row_stays(store: Store) -> None:
    store.volumes.create(VolumeRow("vol"))
    os.makedirs(f"{store.volumes.path}/.new/new-1234/_data")
    os.makedirs(f"{store.volumes.path}/lost/_data/precious")
    found = store.volumes.clear_leftovers()
    assert found == [
        "half-made volume content new-1234: removed",
        "volume lost, which the database did not know: found again",
    ]
    assert [row.name for row in store.metadata.volumes()] == ["lost", "vol"]
    assert os.path.isdir(f"{store.volumes.path}/lost/_data/precious")
    assert store.volumes.clear_leftovers() == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bogus": "1"}, "bogus=1 is not supported"),
        ({"size": "1g"}, "size=1g is not supported"),
        ({"type": "tmpfs"}, "missing required option: device"),
        ({"device": "/x"}, "missing required option: type"),
        ({"o": "bind"}, "missing required option"),
        ({"type": "none", "device": "x", "o": "bind"}, "is not an absolute path"),
        ({"type": "none", "device": "/x", "o": "bind,uid=1"}, "o=uid=1 does not go with bind"),
    ],
)
def test_driver_options_that_make_no_sense_are_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        device.check_options(options)


def test_a_bound_volume_is_the_directory_of_the_host(store: Store, tmp_path: Path, content: int) -> None:
    (tmp_path / "host").mkdir()
    options = {"type": "none", "device": str(tmp_path / "host"), "o": "bind,ro"}
    row = store.volumes.create(VolumeRow("vol", options=options))
    store.volumes.open(row, content)
    assert store.volumes.directory(row) == str(tmp_path / "host")
    assert (tmp_path / "host" / "file").read_text() == "data"
    assert device.bind_options(options) == ["ro"]
    store.volumes.remove("vol")
    assert (tmp_path / "host" / "file").exists()


def test_a_bound_volume_needs_its_directory(store: Store) -> None:
    row = VolumeRow("vol", options={"type": "none", "device": "/no/such", "o": "bind"})
    with pytest.raises(FailedPrecondition, match="/no/such is no directory"):
        store.volumes.open(row)


# What a container mounts


def image(*volumes: str) -> Image:
    return Image("img", "", PLATFORM, {"Volumes": {path: {} for path in volumes}})


def planned(store: Store, request: RunRequest, of: Image) -> dict[str, MountRow]:
    return {each.row.destination: each.row for each in plan(store, request, of)}


def test_an_images_volumes_become_anonymous_volumes(store: Store) -> None:
    rows = planned(store, REQUEST, image("/data", "/../../x/", "rel", "/a/b"))
    assert list(rows) == ["/data", "/rel", "/x", "/a/b"]
    assert all(len(row.name) == 64 and not row.name.strip("0123456789abcdef") for row in rows.values())
    assert len({row.name for row in rows.values()}) == 4


def test_the_users_word_goes_over_the_images(store: Store) -> None:
    request = REQUEST._replace(
        volumes=(parse_volume("/a:/data"), MountRequest("tmpfs", "", "/t")), mounts=(Mount("/m/", "bind", "/a"),)
    )
    rows = planned(store, request, image("/data", "/t", "/m", "/own"))
    assert {path: row.type for path, row in rows.items()} == {"/data": "bind", "/t": "tmpfs", "/own": "volume"}


@pytest.mark.parametrize(
    "path", ["/", "/..", "", ".", "/proc", "/proc/sys", "/sys/", "/dev/shm", "/x/../dev", "//proc", "/a\0b", "/a\nb"]
)
def test_an_image_may_not_have_a_volume_anywhere(store: Store, path: str) -> None:
    """CVE-2022-23648, CVE-2019-16884."""
    with pytest.raises(InvalidArgument, match="where none may be"):
        plan(store, REQUEST, image("/ok", path))
    assert store.metadata.volumes() == []


def test_an_image_may_not_have_any_number_of_volumes(store: Store) -> None:
    with pytest.raises(InvalidArgument, match="has 100000 volumes"):
        plan(store, REQUEST, image(*(f"/v{number}" for number in range(100_000))))
    assert len(plan(store, REQUEST, image(*(f"/v{number}" for number in range(IMAGE_VOLUMES))))) == IMAGE_VOLUMES


def test_volumes_from_takes_binds_and_volumes_and_makes_them_read_only(store: Store) -> None:
    with store.container(REQUEST):
        rows = [
            mounted(REQUEST.id, "vol"),
            MountRow(REQUEST.id, "/b", "bind", source="/src", options=("rbind", "rw")),
            MountRow(REQUEST.id, "/t", "tmpfs"),
        ]
        store.metadata.add_mounts(rows)
        request = RunRequest("b" * 64, volumes_from=("c:ro",), volumes=(parse_volume("/mine:/b"),))
        found = planned(store, request, image())
    assert found.keys() == {"/b", "/d"}
    assert (found["/b"].source, found["/d"].name) == ("/mine", "vol")
    assert "ro" in found["/d"].options


def test_volumes_from_a_container_that_is_not_there_is_refused(store: Store) -> None:
    with pytest.raises(NotFound, match="no such container: nope"):
        plan(store, REQUEST._replace(volumes_from=("nope",)), image())


def test_a_preview_says_the_same_each_time_and_makes_nothing(store: Store) -> None:
    request = REQUEST._replace(view_only=True, volumes=(parse_volume("vol:/d"),))
    assert plan(store, request, image("/v")) == plan(store, request, image("/v"))
    assert not os.path.exists(store.volumes.path)


def test_a_volume_that_shall_not_be_made_has_to_exist(store: Store) -> None:
    request = REQUEST._replace(volumes=(parse_volume("vol:/d:nocreate"),))
    with pytest.raises(NotFound, match="no such volume: vol"):
        plan(store, request, image())
    store.volumes.create(VolumeRow("vol"))
    assert planned(store, request, image())["/d"].name == "vol"


def test_of_two_containers_that_end_at_once_one_unmounts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have their leases still, and neither its bundle: each for itself would leave it to the other."""
    unmounted: list[str] = []
    monkeypatch.setattr(device, "unmount", unmounted.append)
    store.volumes.create(VolumeRow("vol", options={"type": "tmpfs", "device": "tmpfs"}))
    other = REQUEST._replace(id="b" * 64, name="other")
    with store.container(REQUEST) as first, store.container(other) as second:
        store.metadata.add_mounts([mounted(REQUEST.id, "vol"), mounted(other.id, "vol")])
        first.take_down()
        assert unmounted == []  # the other one has its bundle, and uses it
        second.take_down()
        assert unmounted == [store.volumes.mountpoint("vol")]
