"""What a word could become: names in the store, values of options."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from prun.cli.completion.words import by_flag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from prun.cli.completion.words import Seen
    from prun.cli.grammar import Option

Word = tuple[str, str]  # and what it means


class Answer(NamedTuple):
    """The words that fit, with what they mean; ``paths``: ``files`` or ``dirs`` of the machine fit too.

    A word that ends with one of ``=:,`` goes on: no space follows it.  ``ids`` are offered to who has begun one.
    """

    words: Sequence[Word] = ()
    paths: str = ""
    ids: Sequence[Word] = ()

    def __add__(self, other: object) -> Answer:
        if not isinstance(other, Answer):
            return NotImplemented
        return Answer([*self.words, *other.words], self.paths or other.paths, [*self.ids, *other.ids])

    def fitting(self, current: str) -> list[Word]:
        """Return the words that begin like this; two digits are the beginning of an id, where nothing has the name."""
        found = [word for word in self.words if word[0].startswith(current)]
        return found or [word for word in self.ids if len(current) > 1 and word[0].startswith(current)]


NOTHING = Answer()
FILES, DIRS = Answer(paths="files"), Answer(paths="dirs")
_NAMESPACE = ("private", "host", "container:")
# Of options of every command, by their long names: words, or what answers.
_WORDS: Mapping[str, tuple[str, ...]] = {
    "attach": ("stdin", "stdout", "stderr"),
    "cgroupns": ("private", "host"),
    "format": ("json", "table"),
    "gpus": ("all",),
    "ipc": (*_NAMESPACE, "shareable"),
    "log-driver": ("k8s-file", "json-file", "none"),
    "log-opt": ("max-size=", "max-file=", "path="),
    "mount": ("type=bind,", "type=volume,", "type=tmpfs,", "type=image,"),
    "network": ("none", "host"),
    "pid": _NAMESPACE,
    "platform": ("linux/amd64", "linux/arm64"),
    "pull": ("missing", "never", "always"),
    "restart": ("no", "on-failure", "always", "unless-stopped"),
    "security-opt": (
        "apparmor=", "label=disable", "mask=", "no-new-privileges", "seccomp=builtin", "seccomp=unconfined",
        "systempaths=unconfined", "unmask=",
    ),
    "userns": ("host", "auto", "keep-id", "nomap", "private"),
    "uts": _NAMESPACE,
}  # fmt: skip


class Candidates:
    """Answers from one store, at ``settings`` of the command line."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self._settings = settings

    def of_options(self, line: Seen, options: Sequence[Option], current: str, keys: Sequence[str] = ()) -> Answer:
        """Return what a word could be that is an option, or the value of one; ``keys`` are those of ``--filter``."""
        flag, equals, _ = current.partition("=")
        option = line.pending or (by_flag(options).get(flag) if equals else None)
        if option:
            answer = _plain(f"{key}=" for key in keys) if option.name == "filter" else self._value(option)
            before = "" if line.pending else f"{flag}="
            return answer._replace(words=[(f"{before}{word}", what) for word, what in answer.words])
        if equals:
            return NOTHING
        long = [(f"--{option.name}", option.help) for option in options]
        return Answer(long + [(f"-{option.short}", option.help) for option in options if option.short])

    def _value(self, option: Option) -> Answer:
        if option.choices:
            return _plain(option.choices)
        if words := _WORDS.get(option.name):
            return _plain(words)
        if answer := self._asked.get(option.name):
            return answer(self)
        metavar = option.metavar.strip("[].")
        return {"FILE": FILES, "DIR": DIRS}.get(metavar, NOTHING)

    def of_argument(self, metavar: str, states: Sequence[str] = (), without: Iterable[str] = ()) -> Answer:
        """Return what an argument could be; ``states``: those of containers that fit."""
        if metavar.startswith("[CONTAINER:]"):  # of cp: a path, here or there
            return Answer([(f"{name}:", what) for name, what in self.containers().words], "files")
        kinds: dict[str, Callable[[], Answer]] = {
            "CONTAINER": lambda: self.containers(states),
            "FILE": lambda: FILES,
            "IMAGE": self.images,
            "NAME": lambda: self.containers() + self.images() + self.volumes(),
            "SECRET": self.secrets,
            "SOURCE": lambda: FILES,
            "VOLUME": self.volumes,
        }
        answer = sum((kinds[kind]() for kind in metavar.strip("[].").split("|") if kind in kinds), NOTHING)
        taken = set(without)
        return answer._replace(words=[word for word in answer.words if word[0] not in taken])

    def containers(self, states: Sequence[str] = ()) -> Answer:
        """Return the names of containers."""
        from prun.metadata.names import names

        found = [row for row in names(self._database, "containers") if not states or row.status in states]
        words = [(row.name, f"{row.status}, {row.image}") for row in found]
        return Answer(words, ids=[(row.id[:12], what) for row, (_, what) in zip(found, words, strict=True)])

    def images(self) -> Answer:
        """Return the names of images, as short as they can be."""
        from prun.image.reference import parse_reference
        from prun.metadata.names import names

        rows = names(self._database, "images")
        found = [row.name for row in rows if not row.name.startswith("sha256:")]
        ids = {row.id.removeprefix("sha256:")[:12]: "image" for row in rows}
        return Answer([(parse_reference(name).familiar, "image") for name in found], ids=list(ids.items()))

    def volumes(self) -> Answer:
        """Return the names of volumes."""
        from prun.metadata.names import names

        return Answer([(row.name, "volume") for row in names(self._database, "volumes")])

    def secrets(self) -> Answer:
        """Return the names of secrets."""
        try:
            found = sorted(os.listdir(os.path.join(self._root, "secrets")))
        except OSError:
            return NOTHING
        return Answer([(name, "secret") for name in found if not name.startswith(".")])

    def named(self, kind: str) -> Answer:
        """Return the names of runs or profiles in files."""
        from prun.api import Runner
        from prun.config.choosing import Chooser
        from prun.errors import PrunError

        try:
            settings = Runner(config=self._settings.get("config", "")).settings
            if not (settings.documents or settings.found):
                return NOTHING
            documents = (*settings.documents, *Chooser(settings).found)
        except PrunError:
            return NOTHING
        tables = [table for each in documents for table in each.table.get(kind, {}).items()]
        return Answer([(name, str(table.get("help", f"[{kind}.{name}]"))) for name, table in tables])

    def _mounted(self) -> Answer:
        return Answer([(f"{name}:", what) for name, what in self.volumes().words], "dirs")

    def _capabilities(self) -> Answer:
        from prun.spec.linux import CAPABILITIES

        return _plain(["ALL", *(name.removeprefix("CAP_") for name in CAPABILITIES)])

    def _signals(self) -> Answer:
        import signal

        return _plain([name.name.removeprefix("SIG") for name in signal.Signals])

    def _limits(self) -> Answer:
        from prun.request.resources import ULIMITS

        return _plain([f"{name}=" for name in ULIMITS])

    def _installed(self, group: str) -> Answer:
        from prun import discovery

        return _plain(list(discovery.entry_points(group)))

    def _plugins(self) -> Answer:
        return Answer([("none", ""), *self._installed("prun.plugins").words])

    # Of options whose values are there, not in a list.
    _asked: Mapping[str, Callable[[Candidates], Answer]] = {
        "cap-add": _capabilities,
        "cap-drop": _capabilities,
        "device": lambda _: FILES,
        "engine": lambda self: self._installed("prun.engines"),
        "plugins": _plugins,
        "profile": lambda self: self.named("profiles"),
        "runtime": lambda self: self._installed("prun.runtimes"),
        "secret": secrets,
        "signal": _signals,
        "stop-signal": _signals,
        "ulimit": _limits,
        "volume": _mounted,
        "volumes-from": containers,
    }

    @property
    def _root(self) -> str:
        from prun.api import Runner

        return Runner(root=self._settings.get("root", ""), config=self._settings.get("config", "")).root

    @property
    def _database(self) -> str:
        return os.path.join(self._root, "metadata.db")


def _plain(words: Iterable[str]) -> Answer:
    return Answer([(word, "") for word in words])
