"""The rules' file: what a rule may say, and what is wrong with one that says something else."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from prun.errors import InvalidArgument, PermissionDenied, PrunError
from prun_policy.subjects import SUBJECTS

if TYPE_CHECKING:
    from prun_policy.subjects import Subject

KEYS = ("name", "deny", "require", "values", "reason", "except", "key", "signatures")


class Rule(NamedTuple):
    """One rule: ``deny`` its subject (where it is one of ``values``) or, else, require it (to be one of them).

    ``exempt`` are repositories of images that it does not hold for.  ``key`` and ``signatures`` are files.
    """

    file: str
    name: str
    deny: bool
    subject: str
    values: tuple[str, ...] = ()
    reason: str = ""
    exempt: tuple[str, ...] = ()
    key: str = ""
    signatures: str = ""

    def __str__(self) -> str:
        return f"rule {self.name!r} of {self.file}"


def read(file: str) -> tuple[Rule, ...]:
    """Return the rules of a file, which has one at least.

    Raises:
        InvalidArgument: it is missing, no TOML, or a rule is malformed: then none of them is any good.
        PermissionDenied: others may write to it.
    """
    tables = _tables(file)
    rules = tuple(_rule(file, number, table) for number, table in enumerate(tables, 1))
    names = [rule.name for rule in rules]
    for name in names:
        if names.count(name) > 1:
            raise InvalidArgument(f"policy {file}: two rules are called {name!r}")
    return rules


def _tables(file: str) -> list[object]:
    import tomli

    try:
        with open(file, "rb") as opened:
            info = os.fstat(opened.fileno())
            if hasattr(os, "geteuid") and (info.st_uid not in (0, os.geteuid()) or info.st_mode & 0o022):
                raise PermissionDenied(
                    f"policy {file} may be changed by others (uid {info.st_uid}, mode {info.st_mode & 0o777:o})",
                    hint=f"chown it to root, and chmod go-w {file}",
                )
            document = tomli.load(opened)
    except OSError as error:
        raise InvalidArgument(f"policy {file} cannot be read: {error.strerror}") from error
    except (tomli.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"policy {file} is no TOML: {error}") from error
    tables = document.pop("rule", None)
    if document:
        raise InvalidArgument(f"policy {file} has no key {next(iter(document))!r}", hint="it knows: [[rule]]")
    if not isinstance(tables, list) or not tables:
        raise InvalidArgument(f"policy {file} has no rules", hint="[[rule]]")
    return tables


def _rule(file: str, number: int, table: object) -> Rule:
    where = f"policy {file}: [[rule]] {number}"
    if not isinstance(table, dict):
        raise InvalidArgument(f"{where} is no table")
    for key in table:
        if key not in KEYS:
            raise InvalidArgument(f"{where} has no key {key!r}", hint=f"it knows: {', '.join(KEYS)}")
    name = _text(table, "name", where)
    if not name:
        raise InvalidArgument(f"{where} has no name", hint="each veto names its rule")
    where = f"{where} ({name})"
    if ("deny" in table) == ("require" in table):
        raise InvalidArgument(f"{where} says neither or both of deny and require", hint="one of them")
    verb = "deny" if "deny" in table else "require"
    word = _text(table, verb, where)
    subject = SUBJECTS.get(word)
    if subject is None or verb not in subject.verbs:
        known = ", ".join(sorted(name for name, each in SUBJECTS.items() if verb in each.verbs))
        raise InvalidArgument(f"{where}: {verb} = {word!r} is nothing that can be", hint=f"one of {known}")
    values = _values(table, verb, subject, where)
    rule = Rule(
        file,
        name,
        verb == "deny",
        word,
        values,
        _text(table, "reason", where),
        _list(table, "except", where),
        _text(table, "key", where),
        _text(table, "signatures", where),
    )
    for key, given in (("key", rule.key), ("signatures", rule.signatures)):
        if given and word != "signature":
            raise InvalidArgument(f"{where}: {key} is for the signature only")
        if word == "signature" and not given.startswith("/"):
            raise InvalidArgument(f"{where}: {key} is {given!r}, not an absolute path")
    return rule


def _values(table: dict[str, Any], verb: str, subject: Subject, where: str) -> tuple[str, ...]:
    values = _list(table, "values", where)
    if subject.value is None:
        if "values" in table:
            raise InvalidArgument(f"{where} takes no values")
        return ()
    # What denies no value in particular denies all; what requires none in particular would mean nothing.
    if not values and (verb == "require" or "values" in table):
        raise InvalidArgument(f"{where} has no values", hint=f'values = ["{subject.example}"]')
    checked = []
    for value in values:
        try:
            checked.append(subject.value(value))
        except (ValueError, PrunError) as error:
            raise InvalidArgument(
                f"{where}: {value!r} {error}", hint=f'as in values = ["{subject.example}"]'
            ) from error
    return tuple(checked)


def _text(table: dict[str, Any], key: str, where: str) -> str:
    value = table.get(key, "")
    if not isinstance(value, str):
        raise InvalidArgument(f"{where}: {key} is {value!r}, not a string")
    return value


def _list(table: dict[str, Any], key: str, where: str) -> tuple[str, ...]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise InvalidArgument(f"{where}: {key} is {value!r}, not a list of strings")
    return tuple(value)
