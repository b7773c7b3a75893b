"""Models on the hosts of a session: read, download, copy, verify, remove."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

from spark_cluster.core.error import CheckFailed, SparkError, StepFailed
from spark_cluster.core.event import StepStarted
from spark_cluster.core.result import Result
from spark_cluster.core.secret import Secret
from spark_cluster.core.units import count, human_bytes
from spark_cluster.facts.docker import CONTAINERS
from spark_cluster.facts.hardware import HARDWARE
from spark_cluster.facts.lock import FILES_LOCK
from spark_cluster.facts.models import ModelsFact, models
from spark_cluster.inventory.models import Inventory
from spark_cluster.recipes.naming import NamedModel, model_folder
from spark_cluster.runner.remote_program import diagnosed
from spark_cluster.runner.transfer import Transfer
from spark_cluster.transfer import plan
from spark_cluster.transfer.cache import CachedModel, holds, identified, manifest, nameless
from spark_cluster.transfer.node import pull
from spark_cluster.transfer.payload import ModelPayload
from spark_cluster.transfer.rates import Downloaded


@dataclass
class Models:
    """One model in the hosts' caches."""

    transfer: Transfer
    inventory: Inventory
    verb: str
    model: NamedModel

    def __post_init__(self) -> None:
        self.name, self.cache = self.model.name, self.model.cache
        self.revision = self.model.revision
        self.session = self.transfer.session
        self.fact = models(self.cache)
        self.folder = model_folder(self.cache, self.name)

    def read(self, needed: Sequence[str] = ()) -> dict[str, CachedModel | None]:
        """What each host that answers holds, in one exec each. Raises for a host that is `needed`
        and does not answer, or whose cache cannot be read."""
        facts = (self.fact, HARDWARE, CONTAINERS)
        found: dict[str, CachedModel | None] = {}
        outcomes: dict[str, Any] = dict(self.session.lost)
        outcomes |= self.session.each(self.session.alive, lambda one: one.read(facts))
        for host, outcome in outcomes.items():
            if isinstance(outcome, SparkError):
                if host in needed:
                    raise outcome
                continue
            seen: ModelsFact = outcome[self.fact]
            if not seen.error:
                found[host] = seen.models.get(self.name)
            elif host in needed:
                raise diagnosed("HOST001", f"{self.cache} cannot be read: {seen.error}", host)
        return found

    def nowhere(self, hosts: Sequence[str]) -> str:
        return f"{self.name} is in {self.cache} on none of {', '.join(hosts)}"

    # Copying

    def sync(
        self, wanted: Sequence[str], preferred: str | None, *, streams: int, deep: bool = False
    ) -> list[Result]:
        """Bring the model to `wanted`, from `preferred` or any host that has it complete."""
        needed = [*wanted, preferred] if preferred else wanted
        held = self.read(needed)
        sources, why = plan.source(held, self.revision, preferred)
        if not sources:
            raise diagnosed("MODEL002", f"{self.name} {self.revision} in {self.cache}: {why}")
        model = held[sources[0]]
        assert model is not None
        if nameless(model, self.revision):
            model = self._identified(model, sources[0])
            sources = sources[:1]
        if deep:
            sources = sources[:1]
        sinks = [
            host for host in wanted
            if host not in sources and (deep or not holds(held.get(host), model, self.revision))
        ]  # fmt: skip
        title = f"{self.name} {model.commit(self.revision)[:12]}"
        there = [host for host in wanted if host not in sinks]
        finish = self.transfer.finish
        results = [finish(host, "model-copy", title, "it has it complete") for host in there]
        return results + (self._copy(model, sources, sinks, streams, deep) if sinks else [])

    def _identified(self, model: CachedModel, host: str) -> CachedModel:
        """Without symlinks, and from an older client, only the files themselves say what they are:
        their hashes on the source are what the copies must have."""
        title = f"Hash {self.name}"
        commit = model.commit(self.revision)
        digests = self.transfer.identify(self.folder, commit, host, title)
        self.transfer.finish(host, "model-verify", title, f"{count(len(digests), 'file')} hashed")
        return identified(model, digests, self.revision)

    def _copy(
        self, model: CachedModel, sources: list[str], sinks: list[str], streams: int, deep: bool
    ) -> list[Result]:
        try:
            what = manifest(model, self.revision)
        except ValueError as error:
            raise diagnosed("MODEL001", f"{self.name}: {error}", sources[0]) from None
        payload = ModelPayload(self.name, self.folder, what, streams, deep)
        waves, apart = plan.waves(self.inventory, sources, sinks)
        if apart:
            raise diagnosed(
                "MODEL003", f"{', '.join(apart)}: no network shared with {', '.join(sources)}"
            )

        def arrived(seen: ModelsFact) -> str:
            there = seen.models.get(self.name)
            if holds(there, model, self.revision):
                return ""
            faults = there.faults(self.revision) if there else ("it is not there",)
            return "; ".join(faults) or f"it is not the same as on {sources[0]}"

        spread = self.transfer.spread
        return spread(self.verb, self.inventory, payload, waves, self.fact, arrived)

    # Downloading

    def pull(
        self,
        wanted: Sequence[str],
        on_host: str | None,
        *,
        image: str,
        endpoint: str,
        token: Secret,
    ) -> tuple[str, Result]:
        """Download on one host: `on_host`, or where most of it is already. The host, and what
        became of it there."""
        held = self.read([on_host] if on_host else wanted)
        host = plan.downloader(held, wanted, on_host)
        job = self._job(image, endpoint, token)
        title = f"Download {self.name} {self.revision}"
        with self._locked([host]):
            done = self.transfer.pull(host, (pull, "pull", job), "model-pull", title)
        finish = self.transfer.finish
        if isinstance(done, SparkError):
            return host, finish(host, "model-pull", title, error=done)
        model = self.read([host]).get(host)
        faults = model.faults(self.revision) if model else ("it is not there",)
        if faults:
            error = diagnosed("MODEL004", f"after the download: {'; '.join(faults)}", host)
            return host, finish(host, "model-pull", title, error=error)
        return host, finish(
            host, "model-pull", title, _downloaded(done), changed=bool(done["received"])
        )

    def missing_bytes(
        self, host: str, *, endpoint: str, token: Secret
    ) -> tuple[int, int] | SparkError:
        """What a download on this host would fetch, and the whole model, as the hub says; or why it
        would fail."""
        done = self.transfer.ask(host, (pull, "size", self._job("", endpoint, token)))
        if isinstance(done, SparkError):
            return done
        return int(done["bytes"]), int(done["total"])

    def _job(self, image: str, endpoint: str, token: Secret) -> dict[str, str]:
        """What the program that downloads is told; the token stays out of every output."""
        self.session.become.secrets.append(token)
        return {
            "cache": self.cache,
            "model": self.name,
            "revision": self.revision,
            "endpoint": endpoint,
            "token": token.reveal(),
            "image": image,
        }

    # Verifying and removing

    def verify(self) -> list[Result]:
        """Hash every file on every host that has the model."""
        held = {host: model for host, model in self.read().items() if model is not None}
        if not held:
            raise diagnosed("MODEL002", self.nowhere(list(self.session.hosts)))
        title, finish = f"Verify {self.name}", self.transfer.finish
        results = []
        for host, done in self.transfer.verify(self.folder, list(held), title).items():
            if isinstance(done, SparkError):
                results.append(finish(host, "model-verify", title, error=done))
                continue
            faults = [f"{held[host].file_of(path)}: {why}" for path, why in done["bad"]]
            faults += held[host].faults(self.revision)
            usage = done["usage"]["cpu"]
            said = (
                f"{count(done['files'], 'file')}, {human_bytes(done['bytes'])} "
                f"hash to their names; {usage:.1f} cores busy"
            )
            if unknown := int(done.get("unknown", 0)):
                said += f"; of {count(unknown, 'file')} no hash is known"
            error = CheckFailed(
                f"{self.name}: {'; '.join(faults)}",
                host=host,
                code="MODEL001" if done["bad"] else "SERVE004",
                remedy=self._mend(host, held, bool(done["bad"])),
            )
            results.append(
                finish(host, "model-verify", title, said, error=error if faults else None)
            )
        return results

    def _mend(self, host: str, held: Mapping[str, CachedModel], bad: bool) -> str:
        others = [name for name in held if name != host and held[name].complete(self.revision)]
        if not others:
            return (
                f"`spark-cluster model rm {self.model.asked} --hosts {host}`, then "
                f"`spark-cluster model pull {self.model.asked} --to {host}`."
            )
        deep = " --deep" if bad else ""
        return f"spark-cluster model sync {self.model.asked} --from {others[0]} --to {host}{deep}"

    def refuse_if_used(self) -> None:
        """Raises StepFailed when a running container of ours serves the model. After `read`."""
        used = [
            f"{container.name} on {host}"
            for host, facts in self.session.all_facts().items()
            for container in facts[CONTAINERS].containers
            if container.running
            and self.name in (container.label("hub-model"), container.label("model"))
        ]
        if used:
            raise diagnosed("MODEL008", f"{self.name} is served by {', '.join(used)}")

    def remove(self, hosts: Sequence[str]) -> list[Result]:
        """Remove the model from these hosts, and look again. Raises StepFailed when it is in use:
        nothing was removed."""
        title, finish = f"Remove {self.name}", self.transfer.finish
        with self._locked(hosts), self.transfer.locked(hosts, self.verb):
            self.read(hosts)
            self.refuse_if_used()
            self.transfer.listener(StepStarted("model-remove", title, tuple(hosts)))
            job = {"hub": f"{self.cache}/hub", "model": self.name}
            remove = partial(self.transfer.remove, job)
            done = {host: self.transfer.on(host, remove) for host in hosts}
            left = self.read()
        results = []
        for host, outcome in done.items():
            if isinstance(outcome, SparkError):
                results.append(finish(host, "model-remove", title, error=outcome))
            elif left.get(host) is not None:
                error = StepFailed("it is still there", host=host, remedy="Run the command again.")
                results.append(finish(host, "model-remove", title, error=error))
            else:
                said = f"{human_bytes(outcome)} freed"
                results.append(finish(host, "model-remove", title, said, changed=True))
        return results

    def _locked(self, hosts: Sequence[str]) -> AbstractContextManager[None]:
        return self.transfer.locked(hosts, self.verb, file=FILES_LOCK)


def _downloaded(done: Mapping[str, Any]) -> str:
    got, seconds = int(done["received"]), float(done["seconds"])
    verified = f"{count(int(done['files']), 'file')} verified, commit {str(done['revision'])[:12]}"
    if not got:
        return f"nothing to download; {verified}"
    return f"{Downloaded('', got, seconds).summary}; {verified}"
