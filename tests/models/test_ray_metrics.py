"""The gateway's metrics on Ray: Ray's own Prometheus endpoint has them, equal to the usage table."""

import time
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest
from model_servers import endpoint_settings, free_port
from prometheus_client.parser import text_string_to_metric_families
from ray_cluster import RayCluster, started_cluster

from dream import ray_cluster
from dream.models import gateway_client
from dream.models.gateway_client import GatewayClient, RayGateway
from dream.models.gateway_metrics import Progress
from dream.models.pickers import llm_picker
from dream.settings import Settings

# Ray's agent, which serves the metrics, is a part of ray[default], as in the image.
pytest.importorskip("opentelemetry.exporter.prometheus", reason="Ray serves metrics with ray[default] alone")
pytestmark = pytest.mark.ray
PUBLISHED_SECONDS = 60.0


@pytest.fixture(scope="module")
def metrics_url() -> Iterator[tuple[str, RayCluster]]:
    port = free_port()
    with started_cluster(1, "--metrics-export-port", str(port)) as cluster:
        yield f"http://127.0.0.1:{port}/metrics", cluster


@pytest.fixture
def gateway(metrics_url, model_server, relay, no_environment) -> Iterator[GatewayClient]:
    environment = metrics_url[1].environment()
    with (
        ray_cluster.connected(Settings.from_environment(environment)),
        gateway_client.opened(endpoint_settings(model_server, relay)) as opened,
    ):
        assert isinstance(opened, RayGateway)
        yield opened


def values(url: str, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    text = httpx.get(url, trust_env=False).text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    found: Counter[tuple[str, ...]] = Counter()
    for sample in samples:
        if sample.name == name:
            found[tuple(sample.labels[label] for label in labels)] += sample.value
    return dict(found)


def test_rays_endpoint_has_the_numbers_of_the_usage_table(gateway, metrics_url):
    url = metrics_url[0]
    for text in ("one", "two", "one"):
        llm_picker("llm-large", trial="t1").complete(text)
    gateway.note_progress(Progress("first", 80, 20, 4, 1))
    wanted = {(row.endpoint, row.model, row.stage): float(row.calls) for row in gateway.usage()}
    by = ("endpoint", "model", "stage")
    until = time.monotonic() + PUBLISHED_SECONDS
    while values(url, "ray_dream_model_calls_total", *by) != wanted and time.monotonic() < until:
        time.sleep(0.5)
    assert values(url, "ray_dream_model_calls_total", *by) == wanted
    cached = {key: float(sum(row.cached for row in gateway.usage())) for key in wanted}
    assert values(url, "ray_dream_model_cache_hits_total", *by) == cached
    while not values(url, "ray_dream_experiment_questions", "experiment") and time.monotonic() < until:
        time.sleep(0.5)
    questions = values(url, "ray_dream_experiment_questions", "experiment", "state")
    assert questions == {("first", "planned"): 80, ("first", "done"): 20}
