"""``${NAME}``, ``${NAME:-DEFAULT}`` and ``${config.dir}`` in the values of a file; ``$$`` is a dollar sign.

They stand in the options of ``[defaults]``, ``[profiles.*]`` and ``[run.*]`` and in a run's ``image``, each in a value
and never in a name.  In ``UNEXPANDED`` they do not: that is text for a shell in the container, which has variables of
its own, and a value of the host's in it would be code.  A file that prun found by itself knows ``${config.dir}`` only:
it shall not carry what is in the environment to a registry or into a container.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from prun.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Mapping

UNEXPANDED = frozenset(("command", "entrypoint", "health_cmd"))
_REFERENCE = re.compile(r"\$\$|\$\{([^}]*)(\}?)")
_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-([^$]*))?")
_FORMS = "${NAME}, ${NAME:-DEFAULT} or ${config.dir}; $$ is a dollar sign"


def expand(text: str, directory: str, environment: Mapping[str, str] | None) -> str:
    """Return a value with its variables replaced; ``environment`` None: those of the host are not to be had.

    >>> expand("${config.dir}/a $$5 $6 ${X:-y}", "/d", {})
    '/d/a $5 $6 y'

    Raises:
        InvalidArgument: a variable is not set, or cannot be read as one.
    """

    def value(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return _value(match, directory, environment)

    return _REFERENCE.sub(value, text) if "$" in text else text


def _value(match: re.Match[str], directory: str, environment: Mapping[str, str] | None) -> str:
    if not match[2]:
        raise InvalidArgument("'${' has no '}'", hint=_FORMS)
    if match[1] == "config.dir":
        return directory
    named = _NAME.fullmatch(match[1])
    if not named:
        raise InvalidArgument(f"{match[0]!r} is no variable", hint=_FORMS)
    name, default = named.groups()
    if environment is None:
        raise InvalidArgument(
            f"{match[0]!r}: a file that prun found by itself may not see the environment",
            hint="name it with -f, or trust its directory in a prun.toml of your own",
        )
    if default is not None:
        return environment.get(name) or default
    if name not in environment:
        raise InvalidArgument(f"variable {name} is not set", hint=f"${{{name}:-DEFAULT}} says what to take then")
    return environment[name]
