"""The gateway's metrics on Ray: Ray's own Prometheus endpoint of the head (port 8080 on Kubernetes) carries them, with
`ray_` before their names."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from dream import ray_cluster
from dream.models.gateway_metrics import Metric

PUBLISH_SECONDS = 5.0


class RayMetrics:
    """Passes metrics to Ray; does nothing outside of a Ray process."""

    def __init__(self) -> None:
        self._metrics: dict[str, Any] = {}
        self._published: dict[tuple[str, tuple[str, ...]], float] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self, collect: Callable[[], Iterable[Metric]]) -> None:
        """Publish the metrics of `collect` every few seconds, on the running event loop; counters begin at zero."""
        self.stop()
        self._published.clear()
        if ray_cluster.on_ray():
            with suppress(RuntimeError):  # without a loop, this is not the process of a gateway on Ray
                loop = asyncio.get_running_loop()
                self._task = loop.create_task(self._publish_often(collect))

    def stop(self) -> None:
        """Stop publishing."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def publish(self, metrics: Iterable[Metric]) -> None:
        """Pass metrics to Ray: the increase of counters since the last time, and the values of gauges."""
        if not ray_cluster.on_ray():
            return
        for metric in metrics:
            for sample in metric.samples:
                self._hand_over(metric, sample.labels, sample.value)

    def _hand_over(self, metric: Metric, labels: dict[str, str], value: float) -> None:
        from ray.util import metrics as ray_metrics

        if metric.name not in self._metrics:
            kind = ray_metrics.Counter if metric.type == "counter" else ray_metrics.Gauge
            self._metrics[metric.name] = kind(metric.name, metric.documentation, tuple(labels))
        if metric.type != "counter":
            self._metrics[metric.name].set(value, labels)
            return
        key = (metric.name, tuple(labels.values()))
        gained = value - self._published.get(key, 0.0)
        self._published[key] = value
        if gained > 0:
            self._metrics[metric.name].inc(gained, labels)

    async def _publish_often(self, collect: Callable[[], Iterable[Metric]]) -> None:
        while True:
            self.publish(collect())
            await asyncio.sleep(PUBLISH_SECONDS)
