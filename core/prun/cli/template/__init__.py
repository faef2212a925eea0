"""Go templates for ``--format``: what docker's and podman's users write, and no more.

A template is text with actions between ``{{`` and ``}}``: fields (``.Config.Env``), the functions of Go and those that
docker adds (``functions``), pipelines, variables, ``if``, ``with``, ``range``, comments and trim markers.  There are no
templates in templates, and no methods but docker's ``.Label``.  Records are JSON objects: a field that an object lacks
is an error, a key that a mapping of the user's (``Pairs``) lacks is ``<no value>``.

Language: https://pkg.go.dev/text/template@go1.23.0
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from prun.cli.template.execute import Execution
from prun.cli.template.functions import FUNCTIONS, HEADING_FUNCTIONS
from prun.cli.template.parse import Parser

if TYPE_CHECKING:
    from collections.abc import Callable

    from prun.cli.template.nodes import Node


class Template(NamedTuple):
    """A template that was parsed, and the text it came from."""

    text: str
    nodes: tuple[Node, ...]

    def render(self, data: object, escape: Callable[[str], str] = str) -> str:
        """Return the text for one record; what comes from the record goes through ``escape``.

        Raises:
            InvalidArgument: a field that is not there, a function that cannot use what it is given.
        """
        return Execution(self.text, data, escape, FUNCTIONS).run(self.nodes)

    def heading(self, headings: object) -> str:
        """Return the heading of such lines: the same template over the names of the columns, as docker does it."""
        return Execution(self.text, headings, str, {**FUNCTIONS, **HEADING_FUNCTIONS}).run(self.nodes)


def parse(text: str) -> Template:
    r"""Parse a template; ``\t`` and ``\n`` outside of actions stand for a tab and a line's end.

    >>> parse("{{.Name}}:{{len .Layers}}").render({"Name": "a", "Layers": [1, 2]})
    'a:2'

    Raises:
        InvalidArgument: it is none; the message says where.
    """
    return Template(text, Parser(text, FUNCTIONS).parsed())
