"""What files say of one run: tables laid over each other, from general to specific.

``[defaults]`` of every file, then the run that was asked for behind the profiles that it extends, then the profiles of
``--profile`` in their order.  The last value of an option counts; of one that may be repeated all do, in this order.
``unset`` takes back what was said before.  A profile counts once, where it comes first.

A file that prun found by itself lies below all of that, and only tables of it that were asked for by name: it cannot
take back what your own files say, may set the options in ``HARMLESS`` and no other, sees no variable of the
environment, and extends profiles of its own only.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from prun.config.faults import InvalidConfig, nearest
from prun.config.schema import TABLES, keys_of
from prun.config.values import names, words
from prun.errors import InvalidArgument
from prun.types import NO_ORIGINS, NOTHING, Origin

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from prun.config.faults import Fault
    from prun.config.files import Document
    from prun.config.schema import Key
    from prun.request import Asked, Words
    from prun.types import OriginKind

# What opens nothing of the machine to a container: no path, device, namespace, privilege, secret or program of it.
HARMLESS = frozenset(
    (
        *("add_host", "attach", "cap_drop", "command", "cpu_period", "cpu_quota", "cpu_shares", "cpus", "cpuset_cpus"),
        *(
            "cpuset_mems",
            "detach",
            "detach_keys",
            "dns",
            "dns_option",
            "dns_search",
            "entrypoint",
            "env",
            "explain",
            "extends",
        ),
        *("explain", "health_cmd", "health_interval", "health_on_failure", "health_retries", "health_start_interval"),
        *("health_start_period", "health_timeout", "help", "hostname", "image", "init", "interactive", "label"),
        *("memory", "memory_reservation", "memory_swap", "memory_swappiness", "name", "no_healthcheck", "pids_limit"),
        *("platform", "pull", "quiet", "read_only", "rm", "shm_size", "sig_proxy", "stop_signal", "stop_timeout"),
        *("timeout", "tmpfs", "tty", "tz", "ulimit", "umask", "unset", "unsetenv", "user", "workdir"),
    )
)
_REMEDY = "read the file, then name it with -f, or trust its directory in a prun.toml of your own"


class Layer(NamedTuple):
    """One table in force, and what it is called."""

    kind: OriginKind
    name: str
    document: Document

    @property
    def path(self) -> tuple[str, ...]:
        return {"defaults": ("defaults",), "profile": ("profiles", self.name)}.get(self.kind, ("run", self.name))

    @property
    def table(self) -> Mapping[str, Any]:
        table: Any = self.document.table
        for part in self.path:
            table = table[part]
        return table  # type: ignore[no-any-return]  # checked when it was read


class Part(NamedTuple):
    """What one table says of one option, under which key."""

    layer: Layer
    name: str
    words: Words


class Layered(NamedTuple):
    """What files say of a run: options as words, IMAGE and the words behind it, and where each comes from.

    ``parts`` are what made up each option, as ``origins``.
    """

    options: Mapping[str, Words] = NOTHING
    image: str = ""
    command: tuple[str, ...] = ()
    origins: Mapping[str, tuple[Origin, ...]] = NO_ORIGINS
    parts: Mapping[str, tuple[Part, ...]] = {}

    def under(self, asked: Asked) -> dict[str, Words]:
        """Return the options with those that were asked for laid over them."""
        both = {**self.options, **asked}
        for key, old in self.options.items():
            new = asked.get(key)
            if isinstance(old, tuple) and isinstance(new, tuple):
                both[key] = (*old, *new)
        return both

    def origins_under(self, over: Mapping[str, Origin]) -> dict[str, tuple[Origin, ...]]:
        """Return where all options come from, ``over`` being those laid over them."""
        several = {key for key, value in self.options.items() if isinstance(value, tuple)}
        mine = {key: self.origins[key] if key in several else () for key in self.origins if key in over}
        return {**self.origins, **{key: (*mine.get(key, ()), origin) for key, origin in over.items()}}


def holders(kind: str, name: str, documents: Sequence[Document]) -> list[Document]:
    """Return the files that have a table ``[KIND.NAME]``, in their order."""
    return [document for document in documents if name in document.table.get(kind, {})]


def in_order(wanted: Sequence[str], documents: Sequence[Document]) -> list[str]:
    """Return profiles, each behind those that it extends, each once.

    They are looked for in all of ``documents``, where their names are known to be and their circles to be none
    (``extends_faults``).  Takes a step for each profile and each ``extends``, however deep.
    """
    done: dict[str, None] = {}
    left = [(name, False) for name in reversed(wanted)]
    while left:
        name, ready = left.pop()
        if ready:
            done[name] = None
        elif name not in done:
            left.append((name, True))
            left += [(base, False) for base in reversed(_extended(name, documents))]
    return list(done)


def extends_faults(documents: Sequence[Document]) -> Iterator[Fault]:
    """Yield a fault for each name in an ``extends`` that is no profile, and for each circle of profiles."""
    known = dict.fromkeys(name for document in documents for name in document.table.get("profiles", {}))
    for document in documents:
        for kind in ("profiles", "run"):
            for name, table in document.table.get(kind, {}).items():
                several = isinstance(table.get("extends"), list)
                for index, base in enumerate(names(table.get("extends"))):
                    if base not in known:
                        at = (kind, name, "extends", *((index,) if several else ()))
                        hint = nearest(base, known)
                        yield document.fault(at, f"extends: there is no profile {base!r}", hint, value=True)
    bases = {name: [base for base in _extended(name, documents) if base in known] for name in known}
    for circle in _circles(bases):
        document = holders("profiles", circle[0], documents)[-1]
        yield document.fault(
            ("profiles", circle[0], "extends"), f"profiles extend each other in a circle: {' -> '.join(circle)}"
        )


def _circles(bases: Mapping[str, Sequence[str]]) -> Iterator[list[str]]:
    """Yield each way that leads back to where it began, once; a walk in depth without recursion."""
    done: set[str] = set()
    for start in bases:
        way: dict[str, Iterator[str]] = {}
        if start not in done:
            way[start] = iter(bases[start])
        while way:
            last = next(reversed(way))
            base = next(way[last], None)
            if base is None:
                done.add(last)
                del way[last]
            elif base in way:
                steps = list(way)
                yield [*steps[steps.index(base) :], base]
            elif base not in done:
                way[base] = iter(bases[base])


def _extended(name: str, documents: Sequence[Document]) -> list[str]:
    return [
        base
        for document in holders("profiles", name, documents)
        for base in names(document.table["profiles"][name].get("extends"))
    ]


def run_layers(name: str, document: Document, documents: Sequence[Document]) -> Iterator[Layer]:
    """Yield the tables of the run of a file, those of the profiles that it extends first."""
    yield from profile_layers(names(document.table["run"][name].get("extends")), documents)
    yield Layer("run", name, document)


def profile_layers(wanted: Sequence[str], documents: Sequence[Document]) -> Iterator[Layer]:
    """Yield the tables of profiles, those that they extend first, each once."""
    for name in in_order(wanted, documents):
        for document in holders("profiles", name, documents):
            yield Layer("profile", name, document)


def laid(layers: Sequence[Layer], environment: Mapping[str, str] = os.environ) -> Layered:
    """Lay tables over each other.

    Raises:
        InvalidConfig: values cannot be used; all are named.
    """
    return _Laying(environment).lay(layers)


class _Laying:
    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._words: dict[str, Words] = {}
        self._parts: dict[str, tuple[Part, ...]] = {}
        self._faults: list[Fault] = []

    def lay(self, layers: Sequence[Layer]) -> Layered:
        keys = {kind: keys_of(TABLES[kind]) for kind in ("defaults", "profiles", "run")} if layers else {}
        for layer in layers:
            self._layer(layer, keys[layer.path[0]])
        image, command = self._words.pop("image", ""), self._words.pop("command", ())
        assert isinstance(image, str) and isinstance(command, tuple)  # noqa: PT018  by their kinds
        origins = {key: tuple(map(_origin, parts)) for key, parts in self._parts.items()}
        layered = Layered(self._words, image, command, origins, self._parts)
        if self._faults:
            from prun.config.blame import faults_of

            faults = [*self._faults, *faults_of(layered, self._words, {}, alone=True)]
            raise InvalidConfig(sorted(faults, key=lambda fault: (fault.file, fault.line, fault.column)))
        return layered

    def _layer(self, layer: Layer, keys: Mapping[str, Key]) -> None:
        for word in names(layer.table.get("unset")):
            self._words.pop(word.replace("-", "_"), None)
            self._parts.pop(word.replace("-", "_"), None)
        for name, value in layer.table.items():
            word = name.replace("-", "_")
            if layer.document.found and not self._allowed(layer, word, value, name):
                continue
            if word not in ("extends", "help", "unset"):
                try:
                    self._set(layer, keys[word], value, name)
                except InvalidArgument as error:
                    message = str(error) if word.replace("_", "-") in str(error) else f"{word}: {error}"
                    self._fault(layer, name, message, error.hint)

    def _set(self, layer: Layer, key: Key, value: object, name: str) -> None:
        new = words(key, value, layer.document, self._environment)
        if key.name == "image" and layer.document.found and _is_a_place(str(new)):
            raise InvalidArgument(f"a file that prun found by itself may not name a place on this machine: {new}")
        part, old = Part(layer, name, new), self._words.get(key.name)
        if isinstance(new, tuple) and isinstance(old, tuple):
            self._words[key.name] = (*old, *new)
            self._parts[key.name] = (*self._parts[key.name], part)
        else:
            self._words[key.name] = new
            self._parts[key.name] = (part,)

    def _allowed(self, layer: Layer, word: str, value: object, name: str) -> bool:
        """Tell whether a file that nobody named may say this; where it may not, that is a fault."""
        what = ""
        if word not in HARMLESS:
            what = f"a file that prun found by itself may not set {word}"
        elif word == "env" and isinstance(value, list) and any("=" not in str(each) for each in value):
            what = "a file that prun found by itself may not take variables of the host (env)"
        if what:
            self._fault(layer, name, what, _REMEDY)
        return not what

    def _fault(self, layer: Layer, name: str, message: str, hint: str) -> None:
        self._faults.append(layer.document.fault((*layer.path, name), message, hint, value=True))


def _origin(part: Part) -> Origin:
    layer = part.layer
    line = layer.document.line((*layer.path, part.name))
    return Origin(layer.kind, layer.name, layer.document.path, line)


def _is_a_place(image: str) -> bool:
    from prun.image.source import parse_source

    return parse_source(image) is not None
