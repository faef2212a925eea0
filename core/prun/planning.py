"""What a run would do: the answer of ``--dry-run``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prun.spec.document import Spec
    from prun.spec.provenance import Explanation
    from prun.types import Image, PlanStep, RunRequest


class Plan(NamedTuple):
    """A run that was not made: its image, what would be done in which order, who would be asked, and the spec.

    ``hooks`` are the plugins that implement each hook, from general to specific.  ``loosens`` is what its patches and
    hooks of one run let the container do.
    """

    request: RunRequest
    runtime: str
    image: Image
    bundle: str
    steps: tuple[PlanStep, ...]
    hooks: Mapping[str, tuple[str, ...]]
    explanation: Explanation
    loosens: tuple[str, ...] = ()

    @property
    def spec(self) -> Spec:
        """The finished spec."""
        return self.explanation.spec

    @property
    def fetch_bytes(self) -> int:
        """How many bytes of layers are not here."""
        return sum(step.size_bytes for step in self.steps if step.action == "fetch" and not step.done)

    def plain(self) -> dict[str, Any]:
        """Return the plan as JSON."""
        image = self.image
        return {
            "id": self.request.id,
            "name": self.request.name,
            "runtime": self.runtime,
            "image": {
                "name": image.name,
                "digest": image.digest,
                "platform": str(image.platform),
                "layers": [layer._asdict() for layer in image.layers],
            },
            "bundle": self.bundle,
            "fetch_bytes": self.fetch_bytes,
            "steps": [step._asdict() for step in self.steps],
            "hooks": {name: list(plugins) for name, plugins in self.hooks.items()},
            "loosens": list(self.loosens),
            "spec": self.spec,
        }
