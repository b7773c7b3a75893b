"""A container image on the hosts of a session: read it, pull it, copy it from one to the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spark_cluster.core.error import SparkError
from spark_cluster.core.result import Result
from spark_cluster.facts.hardware import HARDWARE
from spark_cluster.facts.lock import FILES_LOCK
from spark_cluster.facts.models import IMAGES, Image, ImagesFact, full_name
from spark_cluster.inventory.models import Inventory
from spark_cluster.runner.remote_program import diagnosed
from spark_cluster.runner.transfer import Transfer
from spark_cluster.transfer import plan
from spark_cluster.transfer.node import image_pull
from spark_cluster.transfer.payload import ImagePayload, Order

_PULL = "image-pull"


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

    # Pulling

    def puller(self, wanted: Sequence[str]) -> str:
        """The first host that has the image, whose docker may know most of its layers; else the
        first of all. Raises what `read` raises."""
        held = self.read(wanted)
        return next((host for host in wanted if held.get(host) is not None), wanted[0])

    def pull(self, host: str) -> Result:
        """Pull the image on one host, from its registry by docker; what became of it there. A name
        with a digest must then name what came."""
        title = f"Pull {self.name}"
        with self.transfer.locked([host], self.verb, file=FILES_LOCK):
            order: Order = (image_pull, "pull", {"image": self.name})
            done = self.transfer.pull(host, order, _PULL, title)
        finish = self.transfer.finish
        if isinstance(done, SparkError):
            return finish(host, _PULL, title, error=done)
        there = self.read([host]).get(host)
        if there is None:
            error = diagnosed("IMAGE004", f"{self.name} is not there after the pull", host)
            return finish(host, _PULL, title, error=error)
        got = self.transfer.downloaded[-1]
        said = got.summary if got.received else "nothing to download"
        return finish(host, _PULL, title, f"{said}; {there.id[7:19]}", changed=bool(got.received))

    def missing_bytes(self, host: str) -> int | SparkError:
        """What a pull would fetch at most, as the registry says, or why that is not known."""
        done = self.transfer.ask(host, (image_pull, "size", {"image": self.name}))
        return done if isinstance(done, SparkError) else int(done["bytes"])

    def bring(self, wanted: Sequence[str], source: str) -> list[Result]:
        """Copy the image to `wanted` and see to its name there: docker drops a digest when it saves
        and loads, so that each host asks the registry for it, which then sends no layer."""
        results = self.sync(wanted, source)
        if "@" not in self.name or not all(result.status.good for result in results):
            return results
        held = self.read(wanted)
        nameless = [host for host in wanted if held.get(host) is None]
        return results + [self.pull(host) for host in nameless]

    # Copying

    def sync(self, wanted: Sequence[str], preferred: str | None) -> list[Result]:
        """Bring the image to `wanted`, from `preferred` or the host that has it."""
        held = self.read([*wanted, preferred] if preferred else wanted)
        source, image = self.source(held, preferred)
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
            if "@" in self.name:  # not a name yet
                there = next((one for one in seen.images if one.id == image.id), None)
            if there is not None and there.id == image.id:
                return ""
            return f"{self.name} is {there.id[7:19] if there else 'absent'}, not {image.id[7:19]}"

        spread = self.transfer.spread
        return results + spread(self.verb, self.inventory, payload, waves, IMAGES, arrived)

    def source(self, held: Mapping[str, Image | None], preferred: str | None) -> tuple[str, Image]:
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
