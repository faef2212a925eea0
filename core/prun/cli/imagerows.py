"""Images as rows of a list: their fields in docker's names, filters, order, history."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from prun.cli.filters import Key, labelled, parse_filters, truth
from prun.cli.output import ago, local_time, timestamp
from prun.cli.template.values import Bytes
from prun.errors import InvalidArgument, PrunError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from prun.engines.embedded.images import Described
    from prun.metadata import ImageRow
    from prun.services import ImageStore
    from prun.state import Store

FILTERS = ("before", "dangling", "id", "label", "label!", "reference", "since", "until")
_MISSING = "<missing>"
_NONE = "<none>"
_INSTRUCTION_CHARACTERS = 45


class Listed(NamedTuple):
    """An image and what its config says; of one whose documents cannot be read, nothing."""

    row: ImageRow
    size_bytes: int
    created_at: float
    labels: Mapping[str, str]

    @property
    def names(self) -> tuple[str, str]:
        """Repository and tag as docker lists them."""
        from prun.image.reference import parse_reference

        if self.row.name == self.row.digest:
            return _NONE, _NONE
        reference = parse_reference(self.row.name)
        repository = reference.familiar.partition("@")[0]
        if reference.tag:
            return repository.rpartition(":")[0], reference.tag
        return repository, _NONE


SORT_KEYS: dict[str, Callable[[Listed], Any]] = {
    "created": lambda each: (-each.created_at, each.row.name),
    "id": lambda each: (each.row.digest, each.row.name),
    "repository": lambda each: each.names,
    "size": lambda each: (each.size_bytes, each.row.name),
    "tag": lambda each: (each.names[1], each.names[0]),
}


def chosen(store: ImageStore, filters: Sequence[str], *, more: Sequence[ImageRow] = ()) -> list[Listed]:
    """Return the images that fit all filters; ``more``: those without a name that count, too.

    Raises:
        InvalidArgument: a filter is none.
    """
    fits = parse_filters(filters, _keys(store))
    rows = [*store.metadata.images(), *more]
    return [each for each in (_opened(store, row) for row in rows) if fits(each)]


def listed(store: ImageStore, each: Listed, *, no_trunc: bool) -> dict[str, Any]:
    """Return the fields of an image in a list; ``Name`` and ``MediaType`` are prun's own."""
    from prun.engines.embedded.garbage import users

    row = each.row
    repository, tag = each.names
    return {
        "Name": row.name,
        "Repository": repository,
        "Tag": tag,
        "ID": row.digest if no_trunc else _short(row.digest),
        "Digest": row.digest,
        "MediaType": row.media_type,
        "Created": timestamp(each.created_at),
        "CreatedAt": local_time(each.created_at),
        "CreatedSince": ago(each.created_at),
        "Size": Bytes(each.size_bytes),
        "Containers": len(users(store, row)),
    }


def history_rows(store: Store, row: ImageRow, found: Described, *, no_trunc: bool, human: bool) -> list[dict[str, Any]]:
    """Return the steps that made an image, the last first; only it has an id, as with docker's builders of today."""
    from prun.image.identity import chain_ids
    from prun.when import point_ns

    diff_ids = found.config["rootfs"]["diff_ids"]
    sizes = [
        store.metadata.snapshot_size(chain) or layer["size"]
        for chain, layer in zip(chain_ids(diff_ids), found.manifest["layers"], strict=True)
    ]
    rows = []
    for step in found.config.get("history") or [{}] * len(sizes):
        created_by = re.sub(r"\s", " ", str(step.get("created_by", "")))
        if not no_trunc and len(created_by) > _INSTRUCTION_CHARACTERS:
            created_by = created_by[: _INSTRUCTION_CHARACTERS - 1] + "…"
        has_layer = not step.get("empty_layer") and sizes
        size = sizes.pop(0) if has_layer else 0
        created = str(step.get("created", ""))
        try:
            since = ago(point_ns(created) / 1e9) if created else "N/A"
        except InvalidArgument:
            since = "N/A"
        rows.append(
            {
                "ID": _MISSING,
                "CreatedAt": created,
                "CreatedSince": since,
                "CreatedBy": created_by,
                "Size": Bytes(size) if human else size,
                "Comment": str(step.get("comment", "")),
            }
        )
    if rows:
        rows[-1]["ID"] = row.digest if no_trunc else _short(row.digest)
    return rows[::-1]


def _short(digest: str) -> str:
    return digest.partition(":")[2][:12]


def _opened(store: ImageStore, row: ImageRow) -> Listed:
    from prun.engines.embedded.images import describe
    from prun.image.manifest import blobs

    size_bytes = 0
    try:
        size_bytes = sum({blob["digest"]: blob["size"] for blob in blobs(store.content, row.target)}.values())
        found = describe(store, row)
    except PrunError:  # what is damaged, to be removed, and what is no image
        return Listed(row, size_bytes, row.created_at, {})
    created_at = found.created_at
    labels = found.config["config"].get("Labels", {})
    return Listed(row, size_bytes, row.created_at if created_at is None else created_at, labels)


def _keys(store: ImageStore) -> dict[str, Key[Listed]]:
    return {
        "before": _than(store, lambda ours, theirs: ours < theirs),
        "dangling": truth(lambda each: each.row.name == each.row.digest),
        "id": lambda value: (
            lambda each: each.row.digest.removeprefix("sha256:").startswith(value.removeprefix("sha256:"))
        ),
        "label": labelled(lambda each: each.labels),
        "label!": labelled(lambda each: each.labels, wanted=False),
        "reference": lambda value: _named(value, store.aliases),
        "since": _than(store, lambda ours, theirs: ours > theirs),
        "until": _until,
    }


def _than(store: ImageStore, compare: Callable[[float, float], bool]) -> Key[Listed]:
    """Return a key that takes another image, and compares when the two were made."""

    def test(value: str) -> Callable[[Listed], bool]:
        from prun.engines.embedded.images import find

        other = _opened(store, find(store, value)).created_at
        return lambda each: compare(each.created_at, other)

    return test


def _until(value: str) -> Callable[[Listed], bool]:
    from prun.when import point_ns

    limit = point_ns(value) / 1e9
    return lambda each: each.created_at < limit


def _named(value: str, aliases: Mapping[str, str]) -> Callable[[Listed], bool]:
    """Take a pattern of a name, with or without the tag; a ``*`` stops at a slash (Go's path.Match, docker's rule)."""
    if not value:
        raise InvalidArgument("it is a name, or a pattern of one")
    head, colon, tag = value.partition(":")
    value = f"{aliases[head]}{colon}{tag}" if head in aliases else value
    pattern = re.compile("".join(map(_translated, re.findall(r"\[[^]]*\]|.", value))))

    def fits(each: Listed) -> bool:
        repository, tag = each.names
        names = {repository, f"{repository}:{tag}", each.row.name, each.row.name.rpartition(":")[0]}
        return any(pattern.fullmatch(name) for name in names)

    return fits


def _translated(part: str) -> str:
    if part.startswith("[") and len(part) > 1:
        return part if re.fullmatch(r"\[\^?[a-z0-9._/-]+\]", part) else re.escape(part)
    return {"*": "[^/]*", "?": "[^/]"}.get(part, re.escape(part))
