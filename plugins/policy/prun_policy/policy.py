"""The hooks of the policy: rules are held against a request before its image is fetched, and against its spec."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prun import hookimpl
from prun.errors import PermissionDenied
from prun.types import Problem
from prun_policy.subjects import SUBJECTS, View, repository_of

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from prun.spec.document import Spec
    from prun.types import Image, Platform, RunRequest
    from prun_policy.rules import Rule
    from prun_policy.subjects import Item


class Policy:
    """Refuses what its rules do; all that offends is told at once, of the request and then of the spec."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._early = [rule for rule in rules if SUBJECTS[rule.subject].early]
        self._late = [rule for rule in rules if not SUBJECTS[rule.subject].early and rule.subject != "signature"]
        self._signed = [rule for rule in rules if rule.subject == "signature"]
        self._names: dict[str, str] = {}

    @hookimpl(wrapper=True)
    def prun_resolve_image(
        self, request: RunRequest, platform: Platform
    ) -> Generator[None, Image | None, Image | None]:
        """Refuse before anything is fetched, and then what turned out to be something else."""
        _refuse(_vetoes(self._early, View(request)))
        image = yield
        if image is not None:
            view = View(request, image.name)
            _refuse([*_vetoes(self._early, view), *self._unsigned(view, image)])
            self._names[request.id] = image.name
        return image

    @hookimpl
    def prun_check_spec(self, request: RunRequest, spec: Spec) -> list[Problem]:
        """Hold the finished spec against the rules."""
        return list(_vetoes(self._late, View(request, self._names.pop(request.id, ""), spec)))

    def _unsigned(self, view: View, image: Image) -> Iterator[Problem]:
        from prun_policy.signatures import why_not_signed

        for rule in self._signed:
            if not _is_exempt(rule, view) and (why := why_not_signed(rule, view.request, image)):
                yield _veto(rule, "IMAGE", why)


def _vetoes(rules: Iterable[Rule], view: View) -> Iterator[Problem]:
    for rule in rules:
        if _is_exempt(rule, view):
            continue
        subject = SUBJECTS[rule.subject]
        fits = subject.denies if rule.deny and subject.denies else subject.fits
        for item in dict.fromkeys(subject.items(view)):
            listed = any(fits(value, item.value) for value in rule.values)
            if subject.value is None or (rule.deny and not rule.values) or listed == rule.deny:
                yield _veto(rule, item.where, _said(rule, item))


def _said(rule: Rule, item: Item) -> str:
    if SUBJECTS[rule.subject].value is None:
        return item.shown
    if rule.deny:
        return f"{item.shown} is denied"
    return f"{item.shown} is none of {', '.join(rule.values)}"


def _veto(rule: Rule, where: str, said: str) -> Problem:
    return Problem(where, f"{said}: {rule}", rule.reason)


def _is_exempt(rule: Rule, view: View) -> bool:
    name = repository_of(view) if rule.exempt else ""
    return bool(name) and any(name == each or name.startswith(each.rstrip("/") + "/") for each in rule.exempt)


def _refuse(problems: Iterable[Problem]) -> None:
    if told := [str(problem) for problem in problems]:
        raise PermissionDenied("; ".join(told))
