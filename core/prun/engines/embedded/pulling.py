"""Images from registries into the store: which host, as whom, under which name."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from prun.engines.embedded.images import describe, find, put, repository_of, row_of, tell
from prun.errors import DataLoss, InvalidArgument, NotFound, PermissionDenied, PrunError, Unavailable
from prun.image.manifest import NotAnImage, members
from prun.image.media_type import INDEXES
from prun.image.partial import KEPT_S, forget_partials
from prun.image.platform import host_platform
from prun.image.reference import parse_reference
from prun.image.registry.client import Registry
from prun.image.registry.credentials import find_login
from prun.image.registry.endpoint import endpoints
from prun.image.registry.progress import Reporter
from prun.image.registry.pull import pull
from prun.image.registry.transport import Patience, Transport
from prun.state import may_mount

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from typing import BinaryIO

    from prun.config import Settings
    from prun.image.reference import Reference
    from prun.image.registry.auth import Login
    from prun.image.registry.endpoint import Endpoint
    from prun.image.registry.progress import Listener
    from prun.image.registry.pull import Admit, Unpack
    from prun.metadata import ImageRow
    from prun.services import ImageStore
    from prun.state import Store
    from prun.types import Image, Platform


T = TypeVar("T")


class Access(NamedTuple):
    """How to get at registries, beside what ``prun.toml`` says.

    ``login`` comes instead of those that are kept in files, ``auth_file`` and ``cert_dir`` instead of the usual files
    and directories; ``tls_verify`` overrides ``insecure``.
    """

    login: Login | None = None
    auth_file: str = ""
    cert_dir: str = ""
    tls_verify: bool | None = None
    patience: Patience | None = None


ACCESS = Access()


def pull_image(
    store: Store,
    words: str,
    settings: Settings,
    *,
    platform: Platform | None = None,
    everything: bool = False,
    access: Access = ACCESS,
    listener: Listener | None = None,
    unpack: bool = True,
    to_run: bool = False,
    only: Collection[str] = (),
    signature_policy: str | None = None,
) -> ImageRow:
    """Fetch an image for ``platform``, this machine's by default, or for all of them; name it, and return its row.

    What is no image is fetched as a whole, or refused where it is wanted ``to_run``.  ``only``, if any, are the digests
    of the entries of an index that are wanted.  ``signature_policy`` is the file of one, None for that of
    ``prun.toml``, empty for none.
    With ``unpack`` the layers for this machine are unpacked as they come; only root can.

    Raises:
        InvalidArgument: ``words`` is no reference.
        NotFound, PermissionDenied, Unavailable, DataLoss, ResourceExhausted: no registry gives it, or not whole.
        PermissionDenied: the signature policy refuses it.
    """
    reference = parse_reference(words, store.aliases)
    report = Reporter(listener)
    name = stored_name(reference)
    admit = admission(signature_policy, settings, parse_reference(name))
    report("resolved", detail=name)
    forget_partials(store.content, older_than_s=KEPT_S)
    wanted = None if everything or only else platform or host_platform()
    unpacking = _unpacker(store) if unpack and may_mount() else None
    with store.content.ingesting() as ingest:
        before = store.metadata.image(name)
        found = endpoints(reference, settings.registries.values(), tls_verify=access.tls_verify)
        target = from_first(
            found,
            lambda registry: pull(
                registry,
                reference.digest or reference.tag,
                ingest,
                wanted,
                unpacking,
                to_run=to_run,
                only=only,
                admit=admit,
            ),
            access,
            report,
        )
        row = row_of(name, target)
        if before is not None and before.digest == row.digest:
            row = row._replace(created_at=before.created_at)
        put(store, [row])
    tell(store, "pull", row)
    is_new = before is None or before.digest != row.digest
    report("done", row.digest, detail=f"{'Downloaded newer image' if is_new else 'Image is up to date'} for {name}")
    return row


def pull_unless(
    policy: str, store: Store, words: str, platform: Platform | None, pull: Callable[[], ImageRow]
) -> ImageRow:
    """Let ``pull`` fetch an image, unless podman's ``--policy`` is content with what is here.

    ``missing``: what is here will do; ``never``: nothing else will; ``newer``: it will where ``pull`` fails.

    Raises:
        NotFound: the policy is ``never``, and it is not here.
    """
    here = None
    if policy != "always":
        try:
            here = find(store, words)
            with suppress(NotAnImage):  # it is for every platform
                describe(store, here, platform)
        except NotFound:
            if policy == "never":
                raise
            here = None
    if here is not None and policy != "newer":
        return here
    try:
        return pull()
    except PrunError:
        if here is None:
            raise
        return here


def refetch_image(store: Store, row: ImageRow, settings: Settings) -> str:
    """Fetch what is missing of an image, of an index only of the entries that are here, from where its name points.

    Returns the name that it was fetched by.

    Raises:
        NotFound, PermissionDenied, Unavailable, DataLoss, ResourceExhausted: it does not come; the image is as before.
    """
    if row.name == row.digest:
        raise NotFound("it has no name to fetch it by")
    words = f"{repository_of(row.name)}@{row.digest}"
    access, was_named_so = Access(patience=Patience(attempts=1)), store.metadata.image(words)
    try:
        is_index = row.media_type in INDEXES
        only = _kept(store, row) if is_index else ()
        pull_image(store, words, settings, everything=not is_index, only=only, access=access, signature_policy="")
    finally:
        if not was_named_so:
            store.metadata.drop_image(words)
    return words


def admission(policy: str | None, settings: Settings, reference: Reference) -> Admit | None:
    """Return what is asked of an image by a signature policy, None for that of ``prun.toml``, empty for none."""
    policy = settings.signature_policy if policy is None else policy
    if not policy:
        return None
    from prun.engines.embedded.admission import of_registry

    return of_registry(policy, reference)


def _kept(store: Store, row: ImageRow) -> set[str]:
    """Return which of an index's entries are in the store; none where it cannot be read."""
    try:
        found = [each.descriptor for each in members(store.content, row.target)]
    except PrunError:
        return set()
    kept = [each for each in found if store.content.has(each["digest"])]
    return {each["digest"] for each in kept} if any(each["mediaType"] not in INDEXES for each in kept) else set()


def look_up_image(
    store: ImageStore, words: str, settings: Settings, platform: Platform, *, signature_policy: str | None = None
) -> Image:
    """Return the image that a registry has: its manifests and its config are asked for, and nothing is kept.

    Raises: as ``pull_image``.
    """
    from prun.image.registry.pull import look

    reference = parse_reference(words, store.aliases)
    name = stored_name(reference)
    admit = admission(signature_policy, settings, parse_reference(name))

    def work(registry: Registry) -> Image:
        return look(registry, reference.digest or reference.tag, store.content, platform, name, admit)

    return from_first(endpoints(reference, settings.registries.values()), work, ACCESS, Reporter(None))


def stored_name(reference: Reference) -> str:
    """Return the name under which a pulled image is known: with a digest, which says it all, there is no tag."""
    return str(reference._replace(tag="")) if reference.digest else str(reference)


def from_first(found: Iterable[Endpoint], work: Callable[[Registry], T], access: Access, report: Reporter) -> T:
    """Do the work with the first endpoint that can; what a mirror cannot give, the next may."""
    for endpoint in found:
        registry = open_registry(endpoint, access, report)
        try:
            return work(registry)
        except (NotFound, PermissionDenied, Unavailable, DataLoss, InvalidArgument) as error:
            if not endpoint.is_mirror:
                raise
            report("warning", detail=f"mirror {endpoint.host}: {error}")
    raise AssertionError("the last endpoint is no mirror")


def open_registry(endpoint: Endpoint, access: Access, report: Reporter) -> Registry:
    """Return a client of an endpoint, with the login that belongs to it."""
    transport = Transport(cert_dir=access.cert_dir, patience=access.patience)
    login = access.login
    if login is None or endpoint.is_mirror:  # --creds are for the registry that was named
        login = find_login(endpoint.name, access.auth_file)
    return Registry(endpoint, transport, login, report)


def _unpacker(store: Store) -> Unpack:
    from prun.image.platform import rank

    def unpack(image: Image, open_blob: Callable[[str], BinaryIO]) -> None:
        if rank(host_platform(), image.platform) is not None:
            store.snapshots.unpack(image.layers, open_blob)

    return unpack
