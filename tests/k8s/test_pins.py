"""Versions of what others make: one table (k8s/pins.yaml), the same everywhere, and not left to age unseen."""

import datetime
import re
import warnings

import pytest
import yaml
from k8s_objects import K8S, REPOSITORY, objects as read, pods, rendered

MOST_DAYS = 90


def pins() -> dict[str, dict[str, datetime.date]]:
    """Each pin of each kind, with the day on which newer versions were last looked for."""
    table = yaml.safe_load((K8S / "pins.yaml").read_text(encoding="utf-8"))
    return {kind: {one["pin"]: one["looked"] for one in rows} for kind, rows in table.items()}


def aged(table: dict[str, dict[str, datetime.date]], today: datetime.date) -> list[str]:
    """The pins that nobody has looked at for `MOST_DAYS` days."""
    every = [(pin, looked) for rows in table.values() for pin, looked in rows.items()]
    return [f"{pin}: last looked at {looked}" for pin, looked in every if (today - looked).days > MOST_DAYS]


def test_the_manifests_have_the_images_of_the_table():
    folders = ("k8s/overlays/laptop", "k8s/overlays/production", "k8s/rayjob", "k8s/vllm", "k8s/tei", "k8s/serve")
    made = [pod for folder in folders for pod in pods(read(rendered(folder)))]
    used = {c["image"] for pod in made for c in pod.containers() if c["name"] not in ("init", "wait")}
    components = [one for path in (K8S / "components").glob("*/*.yaml") for one in read(path.read_text())]
    with_pods = [one for one in components if one["kind"] in ("Cluster", "Deployment", "StatefulSet")]
    used |= {c["image"] for pod in pods(with_pods) for c in pod.containers()}
    used = {image for image in used if not image.startswith("dream:")}
    assert used == set(pins()["images"])


def test_argo_cd_has_the_charts_of_the_table():
    files = (REPOSITORY / "argocd/apps").rglob("[0-9]*.yaml")
    sources = [source for file in files for source in yaml.safe_load(file.read_text())["spec"].get("sources", [])]
    charts = {f"{one['chart']} {one['targetRevision']}" for one in sources if "chart" in one}
    assert charts == set(pins()["charts"])


def test_ci_has_the_actions_of_the_table():
    text = "\n".join(path.read_text() for path in (REPOSITORY / ".github").rglob("*.yaml"))
    used = re.findall(r"uses: ([\w/-]+)@([0-9a-f]{40}) # (\S+)", text)
    assert {f"{name} {version}" for name, _, version in used} == set(pins()["actions"])
    commits = {(name, version): {c for n, c, v in used if (n, v) == (name, version)} for name, _, version in used}
    assert [name for name, found in commits.items() if len(found) > 1] == []


def test_a_pin_that_nobody_looked_at_is_told():
    for one in aged(pins(), datetime.date.today()):
        warnings.warn(f"k8s/pins.yaml: {one}; look for a newer version", stacklevel=1)


@pytest.mark.parametrize(("days", "told"), [(0, 0), (90, 0), (91, 1)])
def test_it_is_told_after_90_days(days: int, told: int):
    looked = datetime.date(2026, 1, 31)
    assert len(aged({"images": {"one": looked}}, looked + datetime.timedelta(days))) == told
