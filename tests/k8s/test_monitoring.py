"""Dashboards and alerts ask for metrics and labels that exist: those of DREAM's gateway, and of Ray as installed."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from k8s_objects import Object, objects, rendered, secrets
from starlette.testclient import TestClient

from dream.models.endpoint_client import EndpointClient
from dream.models.gateway_metrics import Progress, families
from dream.models.usage import Meter
from dream.records import Trial
from dream.serving.server import AnswerServer
from dream.settings import Budget, Endpoint

# kubelet and kube-state-metrics, which are no part of DREAM or Ray
OTHERS = {
    "kubelet_volume_stats_available_bytes",
    "kubelet_volume_stats_capacity_bytes",
    "kube_cronjob_created",
    "kube_cronjob_status_last_successful_time",
}
# added by Prometheus and by the PodMonitor, and those of the other exporters
TARGET_LABELS = {"namespace", "pod", "ray_io_cluster", "ray_io_node_type", "cronjob"}


def monitoring() -> list[Object]:
    return objects(rendered("k8s/monitoring"))


def dashboards() -> dict[str, Object]:
    (made,) = (one for one in monitoring() if one["kind"] == "ConfigMap")
    assert made["metadata"]["labels"]["grafana_dashboard"] == "1"
    return {name: json.loads(text) for name, text in made["data"].items()}


def expressions() -> Iterator[tuple[str, str]]:
    """Each PromQL expression, and where it is."""
    for name, board in dashboards().items():
        for panel in board["panels"]:
            yield from ((f"{name}: {panel['title']}", target["expr"]) for target in panel["targets"])
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                yield f"{name}: ${variable['name']}", re.sub(r"label_values\((.*), (\w+)\)", r"\1", variable["query"])
    (rules,) = (one for one in monitoring() if one["kind"] == "PrometheusRule")
    for group in rules["spec"]["groups"]:
        yield from ((rule["alert"], rule["expr"]) for rule in group["rules"])


def gateway_metrics() -> dict[str, set[str]]:
    """The names that a scrape of the gateway has, with their labels."""
    meter = Meter(Budget(usd=1, calls=2, tokens=3))
    usage = meter.row("openai", "gpt-4o-mini", "answer", "")
    meter.count_failure(usage, "budget")
    client = EndpointClient(Endpoint("openai", "http://127.0.0.1:1/v1"))
    client.limiter.window("gpt-4o-mini")
    client.requests["gpt-4o-mini", "answer", "ok"] += 1
    client.waited["gpt-4o-mini", "answer"] += 1
    found = families(meter, [client], Progress("first", 4, 3, 2, 1))
    samples = [sample for family in found for sample in family.samples]
    return {sample.name: set(sample.labels) for sample in samples}


def served_metrics() -> dict[str, set[str]]:
    """The names that a scrape of `dream serve` has, with their labels."""
    server = AnswerServer(Trial("our_rag", "", ""), cast(Any, None))  # no question, so no gateway is asked
    token = "a-token-of-the-tests"
    answer = TestClient(server.application(token)).get("/metrics", headers={"Authorization": f"Bearer {token}"})
    assert answer.is_success
    samples = re.findall(r"^(\w+)(?:\{(.*)\})? ", answer.text, re.MULTILINE)
    return {name: set(re.findall(r"(\w+)=", labels)) for name, labels in samples}


def ray_metrics() -> tuple[set[str], set[str]]:
    """The names and labels that the dashboards of the installed Ray ask for."""
    import ray

    folder = Path(ray.__file__).parent / "dashboard/modules/metrics/dashboards"
    text = (folder / "default_dashboard_panels.py").read_text()
    return set(re.findall(r"\b(ray_\w+)\{", text)), set(re.findall(r"[{,]\s*(\w+)=", text)) | {"Location"}


def names_of(expression: str) -> set[str]:
    return set(re.findall(r"\b((?:dream|ray|kube|kubelet)_\w+)(?=[{\[)\s]|$)", without_grouping(expression)))


def without_grouping(expression: str) -> str:
    return re.sub(r"\b(?:by|on) \([^)]*\)|\{[^}]*\}", lambda found: "{}" if found[0][0] == "{" else "", expression)


def labels_of(expression: str) -> set[str]:
    grouped = [name for part in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression) for name in part.split(", ")]
    return {*grouped, *re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression)}


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_an_expression_asks_for_metrics_and_labels_that_exist(where: str, expression: str):
    ours, (of_ray, ray_labels) = gateway_metrics() | served_metrics(), ray_metrics()
    names = names_of(expression)
    assert names, where
    assert names - set(ours) - of_ray - OTHERS == set()
    known = TARGET_LABELS.union(*(ours.get(name, set()) for name in names))
    known |= ray_labels if names & of_ray else set()
    assert labels_of(expression) - known == set()


def test_a_wrong_name_or_label_would_be_found():
    expression = 'sum by (modle) (rate(dream_model_call_total{stge="answer"}[5m])) / ray_node_cpu{ray_io_cluster="x"}'
    assert names_of(expression) == {"dream_model_call_total", "ray_node_cpu"}
    assert labels_of(expression) == {"modle", "stge", "ray_io_cluster"}


def test_every_metric_of_the_gateway_is_on_a_dashboard_but_what_says_no_more():
    shown = {name for _, expression in expressions() for name in names_of(expression)}
    assert set(gateway_metrics()) - shown == set()


def test_each_monitor_of_a_service_asks_a_port_that_it_has_and_sends_its_token():
    everything = [*objects(rendered("k8s/overlays/laptop")), *objects(rendered("k8s/serve"))]
    services = [one for one in everything if one["kind"] == "Service"]
    monitors = [one for one in monitoring() if one["kind"] == "ServiceMonitor"]
    assert {one["metadata"]["name"] for one in monitors} == {"minio", "serve"}
    for one in monitors:
        wanted = one["spec"]["selector"]["matchLabels"].items()
        (service,) = (each for each in services if wanted <= each["metadata"]["labels"].items())
        (endpoint,) = one["spec"]["endpoints"]
        assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
        if token := endpoint.get("authorization", {}).get("credentials"):
            assert token["key"] in secrets()[token["name"]]


def test_the_monitor_gives_the_gateways_metrics_on_ray_the_names_of_its_http_server():
    (ray,) = (one for one in monitoring() if one["kind"] == "PodMonitor")
    (endpoint,) = ray["spec"]["podMetricsEndpoints"]
    (rule,) = endpoint["metricRelabelings"]
    assert (rule["sourceLabels"], rule["targetLabel"]) == (["__name__"], "__name__")
    pattern = re.compile(rule["regex"])
    renamed = {match[1] for name in gateway_metrics() if (match := pattern.fullmatch(f"ray_{name}"))}
    assert renamed == set(gateway_metrics())
    assert pattern.fullmatch("ray_node_cpu_utilization") is None


def test_dashboards_have_an_address_of_their_own_and_fit_the_grid():
    boards = dashboards()
    assert len({board["uid"] for board in boards.values()}) == len(boards) == 3
    for board in boards.values():
        places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]]
        assert len(set(places)) == len(places)
        assert len({panel["id"] for panel in board["panels"]}) == len(places)
