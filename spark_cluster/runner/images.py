"""A container image on the hosts of a session: read it, copy it from one to the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spark_cluster.core.error import SparkError
from spark_cluster.core.result import Result
from spark_cluster.facts.hardware import HARDWARE
from spark_cluster.facts.models import IMAGES, Image, ImagesFact, full_name
from spark_cluster.inventory.models import Inventory
from spark_cluster.runner.remote_program import diagnosed
from spark_cluster.runner.transfer import Transfer
from spark_cluster.transfer import plan
from spark_cluster.transfer.payload import ImagePayload


@dataclass
class Images:
    """One image, by the name that recipes use."""

    transfer: Transfer
    inventory: Inventory
    verb: str
    name: str

    def read(self, needed: Sequence[str]) -> dict[str, Image | None]:
        """The image on each host that answers; None where it is not."""
        session = self.transfer.session
        found: dict[str, Image | None] = {}
        outcomes: dict[str, object] = dict(session.lost)
        outcomes |= session.each(session.alive, lambda one: one.read((IMAGES, HARDWARE))[IMAGES])
        for host, outcome in outcomes.items():
            if isinstance(outcome, ImagesFact) and not outcome.error:
                found[host] = outcome.named(self.name)
            elif host in needed:
                raise _unread(host, outcome)
        return found

    def sync(self, wanted: Sequence[str], preferred: str | None) -> list[Result]:
        """Bring the image to `wanted`, from `preferred` or the host that has it."""
        held = self.read([*wanted, preferred] if preferred else wanted)
        source, image = self._source(held, preferred)
        sinks = [host for host in wanted if (held.get(host) or image).id != image.id
                 or held.get(host) is None]  # fmt: skip
        same = [host for host, found in held.items() if found is not None and found.id == image.id]
        # Without its tag docker would save all images of that name.
        payload = ImagePayload(full_name(self.name), image.size)
        results = [
            self.transfer.finish(host, payload.step, self.name, f"it has {image.id[7:19]}")
            for host in wanted
            if host not in sinks
        ]
        if not sinks:
            return results
        waves, apart = plan.waves(self.inventory, [source] if preferred else same, sinks)
        if apart:
            raise diagnosed("MODEL003", f"{', '.join(apart)}: no network shared with {source}")

        def arrived(seen: ImagesFact) -> str:
            there = seen.named(self.name)
            if there is not None and there.id == image.id:
                return ""
            return f"{self.name} is {there.id[7:19] if there else 'absent'}, not {image.id[7:19]}"

        spread = self.transfer.spread
        return results + spread(self.verb, self.inventory, payload, waves, IMAGES, arrived)

    def _source(self, held: Mapping[str, Image | None], preferred: str | None) -> tuple[str, Image]:
        """Where to copy from; with images that differ, only `preferred` tells."""
        there = {host: image for host, image in held.items() if image is not None}
        if preferred is not None:
            if preferred not in there:
                raise diagnosed("SERVE002", f"{self.name} is not on {preferred}", preferred)
            return preferred, there[preferred]
        if not there:
            hosts = ", ".join(held)
            raise diagnosed("SERVE002", f"{self.name} is on none of {hosts}")
        if len({image.id for image in there.values()}) > 1:
            parts = ", ".join(f"{image.id[7:19]} on {host}" for host, image in there.items())
            raise diagnosed(
                "SERVE003", f"{self.name} differs: {parts}; name the right one with --from"
            )
        return next(iter(there.items()))


def _unread(host: str, outcome: object) -> SparkError:
    if isinstance(outcome, SparkError):
        return outcome
    said = outcome.error if isinstance(outcome, ImagesFact) else "no answer"
    return diagnosed("DOCKER001", f"docker says: {said}", host)
