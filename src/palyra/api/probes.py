"""For machines that watch: alive, ready, and the numbers."""

from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from starlette.responses import JSONResponse, Response

from palyra.api.access import PUBLIC, READ
from palyra.api.deps import ApiDeps, Sample
from palyra.api.problem import problem_of
from palyra.api.routes import Routes
from palyra.core.errors import LedgerUnavailable


class Probes:
    """Handlers of ``/healthz``, ``/readyz`` and ``/metrics``, at the root."""

    def __init__(self, deps: ApiDeps) -> None:
        self._deps = deps

    def install(self, routes: Routes) -> None:
        """Add the routes."""
        routes.add("GET", "/healthz", self.healthz, PUBLIC, prefix="")
        routes.add("GET", "/readyz", self.readyz, PUBLIC, also=(503,), prefix="")
        routes.add("GET", "/metrics", self.metrics, READ, media=("text/plain",), prefix="")

    async def healthz(self) -> Response:
        """The process answers."""
        return JSONResponse({"status": "ok", "version": self._deps.version})

    async def readyz(self) -> Response:
        """The ledger takes calls; 503 while it does not."""
        health = self._deps.health()
        if health.writable:
            return JSONResponse({"status": "ready"})
        return problem_of(LedgerUnavailable(health.reason or "The ledger cannot be written."))

    async def metrics(self) -> Response:
        """Numbers in the text format of Prometheus; for keys with the role viewer."""
        return Response(metrics_text(self._deps.samples()), media_type=CONTENT_TYPE_PLAIN_0_0_4)


def metrics_text(samples: Sequence[Sample]) -> bytes:
    """The Prometheus exposition of ``samples``; samples of one name are one family and share label names."""
    registry = CollectorRegistry()
    registry.register(_Samples(samples))
    return generate_latest(registry)


class _Samples(Collector):
    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples

    def collect(self) -> Iterator[Metric]:
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for sample in self._samples:
            labels = sorted(sample.labels)
            family = families.get(sample.name)
            if family is None:
                kind = CounterMetricFamily if sample.kind == "counter" else GaugeMetricFamily
                family = families[sample.name] = kind(sample.name, sample.help, labels=labels)
            family.add_metric([sample.labels[name] for name in labels], sample.value)
        yield from families.values()
