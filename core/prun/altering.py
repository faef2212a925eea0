"""What patches and hooks of one run do to its spec: apply them, and say what they loosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from prun.spec import apply, with_mounts
from prun.spec.loosening import loosened
from prun.spec.patching import with_field, with_json_patch, with_merge_patch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prun.plugins import Hooks
    from prun.request.altering import Patch
    from prun.spec import SpecOpt
    from prun.spec.document import Spec
    from prun.types import Image, Rootfs, RunRequest


def patch_opts(request: RunRequest) -> list[SpecOpt]:
    """Return the options that apply the patches of a request, in order."""
    return [patch_opt(patch) for patch in request.patches]


def patch_opt(patch: Patch) -> SpecOpt:
    """Return the option that applies one."""
    if patch.kind == "set":
        return with_field(patch.pointer, patch.document)
    kinds = {"json": with_json_patch, "merge": with_merge_patch}
    return kinds[patch.kind](patch.document, patch.said)


def loosens(request: RunRequest, image: Image, rootfs: Rootfs, hooks: Hooks, spec: Spec) -> tuple[str, ...]:
    """Return what the container may do that it could not without the patches and the hooks of this run.

    Each is said aloud (``Hooks.warn``): plugins are asked again, without them.
    """
    plain = apply({}, hooks.base.spec_opts(request, image, rootfs))
    apply(plain, [with_mounts(hooks.base.mounts(request, image))])
    found = tuple(loosened(cast("Mapping[str, Any]", plain), cast("Mapping[str, Any]", spec)))
    words = " and ".join([*(["--patch"] if request.patches else []), *(["--hook"] if request.hook_files else [])])
    for each in found:
        if hooks.warn is not None:
            hooks.warn(f"{words}: {each}")
    return found
