"""From a reference to the hosts that may have it: the mirrors first, then the registry itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from prun.errors import FailedPrecondition
from prun.image.reference import DEFAULT_DOMAIN

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prun.image.reference import Reference
    from prun.image.registry.settings import Mirror, Rule

# The API of docker.io is on another host than its name says.
_HUB_HOST = "registry-1.docker.io"


class Endpoint(NamedTuple):
    """A repository on a host.

    ``host`` has a port where it is not the scheme's; ``name`` is the repository's full name, by which credentials are
    looked up.  ``insecure``: certificates are not checked, and plain HTTP will do.
    """

    host: str
    repository: str
    name: str
    insecure: bool = False
    is_mirror: bool = False


def endpoints(reference: Reference, rules: Iterable[Rule], *, tls_verify: bool | None = None) -> list[Endpoint]:
    """Return where to ask for ``reference``, in order; ``tls_verify`` overrides what the rules say of security.

    Raises:
        FailedPrecondition: a rule blocks it.
    """
    name = f"{reference.domain}/{reference.path}"
    rule = _rule_for(name, rules)
    if rule is None:
        return [_endpoint(name, insecure=tls_verify is False)]
    if rule.blocked:
        raise FailedPrecondition(f"registry {rule.prefix} is blocked", hint="see [registries] in prun.toml")

    def insecure(stated: bool) -> bool:
        return stated if tls_verify is None else not tls_verify

    rest = f"/{reference.path}" if rule.prefix.startswith("*.") else name[len(rule.prefix) :]
    mirrors = [
        _endpoint(mirror.location + rest, insecure=insecure(mirror.insecure), is_mirror=True)
        for mirror in rule.mirrors
        if _serves(mirror, reference)
    ]
    own = rule.location + rest if rule.location else name
    return [*mirrors, _endpoint(own, insecure=insecure(rule.insecure))]


def host_endpoint(domain: str, rules: Iterable[Rule], *, tls_verify: bool | None = None) -> Endpoint:
    """Return a registry itself, without a repository: where to log in."""
    rule = _rule_for(domain, rules)
    stated = rule is not None and rule.insecure
    found = _endpoint(f"{domain}/-", insecure=stated if tls_verify is None else not tls_verify)
    return found._replace(repository="", name=domain)


def _rule_for(name: str, rules: Iterable[Rule]) -> Rule | None:
    """Return the rule of the longest prefix that fits a whole part of the name."""
    fitting = [rule for rule in rules if _fits(rule.prefix, name)]
    return max(fitting, key=lambda rule: len(rule.prefix), default=None)


def _fits(prefix: str, name: str) -> bool:
    if prefix.startswith("*."):
        host = name.partition("/")[0].partition(":")[0]
        return host.endswith(prefix[1:])
    return name == prefix or name.startswith(f"{prefix}/")


def _serves(mirror: Mirror, reference: Reference) -> bool:
    return mirror.pull_from_mirror == "all" or (mirror.pull_from_mirror == "digest-only") == bool(reference.digest)


def _endpoint(name: str, *, insecure: bool, is_mirror: bool = False) -> Endpoint:
    domain, _, path = name.partition("/")
    if not path:
        raise FailedPrecondition(
            f"registry {name} is the location of a repository, and names none", hint="see [registries] in prun.toml"
        )
    host = _HUB_HOST if domain == DEFAULT_DOMAIN else domain
    return Endpoint(host, path, name, insecure, is_mirror)
