"""The manifests sent to a real API server, which enforces Pod Security and takes no unknown field.

Runs where KUBEBUILDER_ASSETS names a folder with `kube-apiserver` and `etcd` (`setup-envtest use 1.34 -p path` of
sigs.k8s.io/controller-runtime fetches one), and CRDs are at hand (see k8s_schemas). There is no controller behind the
server: what would make pods does not, so each pod that a manifest would come to is sent by itself.
"""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from k8s_components import EVERY_USE, with_component
from k8s_objects import K8S, Object, Pod, name_of, objects, pods, rendered, secrets, tool
from k8s_schemas import crd_folder
from model_servers import free_port

ASSETS = Path(os.environ.get("KUBEBUILDER_ASSETS", "/nowhere"))
FOLDERS = (
    "k8s/overlays/laptop",
    "k8s/overlays/production",
    "k8s/rayjob",
    "k8s/vllm",
    "k8s/tei",
    "k8s/monitoring",
    "k8s/serve",
    "k8s/overlays/laptop/serve",
    "k8s/overlays/production/serve",
)
WITHOUT_CRD = ("HTTPRoute",)  # of Gateway API
# What others refer to, so that it has to be there; everything else is only tried.
KEPT = ("Namespace", "PriorityClass", "ServiceAccount", "Role", "RoleBinding")

pytestmark = pytest.mark.skipif(
    not ((ASSETS / "kube-apiserver").exists() and (ASSETS / "etcd").exists() and crd_folder().is_dir()),
    reason="no KUBEBUILDER_ASSETS with kube-apiserver and etcd (setup-envtest fetches them), or no CRD_FOLDER",
)


@dataclass
class ApiServer:
    client: httpx.Client

    def __post_init__(self) -> None:
        self._places: dict[tuple[str, str], tuple[str, str, bool]] = {}

    def apply(self, one: Object, keep: bool = False) -> str:
        """What the server has against an object; "" where it takes it."""
        base, plural, namespaced = self._place(one["apiVersion"], one["kind"])
        inside = f"/namespaces/{one['metadata'].get('namespace', 'dream')}" if namespaced else ""
        answer = self.client.patch(
            f"{base}{inside}/{plural}/{one['metadata']['name']}",
            params={"fieldManager": "test", "fieldValidation": "Strict", "force": "true"}
            | ({} if keep else {"dryRun": "All"}),
            headers={"content-type": "application/apply-patch+yaml"},
            content=json.dumps(one),
        )
        warnings = [text for text in answer.headers.get_list("warning") if "domain-qualified finalizer" not in text]
        problem = answer.json()["message"] if answer.status_code >= 300 else "; ".join(warnings)
        return f"{name_of(one)}: {problem}" if problem else ""

    def may(self, account: str, verb: str, group: str, resource: str, name: str = "") -> bool:
        """Whether a ServiceAccount of `dream` has a right there."""
        asked = {"verb": verb, "group": group, "resource": resource, "namespace": "dream", "name": name}
        review = {"user": f"system:serviceaccount:dream:{account}", "resourceAttributes": asked}
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": review}
        answer = self.client.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", json=body)
        return answer.json()["status"]["allowed"]

    def _place(self, version: str, kind: str) -> tuple[str, str, bool]:
        if (version, kind) not in self._places:
            base = "/api/v1" if version == "v1" else f"/apis/{version}"
            for one in self.client.get(base).json()["resources"]:
                if "/" not in one["name"]:
                    self._places[version, one["kind"]] = base, one["name"], one["namespaced"]
        return self._places[version, kind]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    folder, (client, peer, port) = tmp_path_factory.mktemp("api"), (free_port() for _ in range(3))
    key = folder / "account.key"
    subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
    (folder / "tokens.csv").write_text("the-token,admin,1,system:masters\nthe-other-token,installer,2\n")
    etcd = {
        "data-dir": folder / "etcd",
        "listen-client-urls": f"http://127.0.0.1:{client}",
        "advertise-client-urls": f"http://127.0.0.1:{client}",
        "listen-peer-urls": f"http://127.0.0.1:{peer}",
        "initial-advertise-peer-urls": f"http://127.0.0.1:{peer}",
        "initial-cluster": f"default=http://127.0.0.1:{peer}",
    }
    server = {
        "etcd-servers": f"http://127.0.0.1:{client}",
        "bind-address": "127.0.0.1",
        "secure-port": port,
        "cert-dir": folder / "certificates",
        "service-account-key-file": key,
        "service-account-signing-key-file": key,
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-cluster-ip-range": "10.0.0.0/24",
        "authorization-mode": "RBAC",
        "token-auth-file": folder / "tokens.csv",
    }
    with (folder / "log").open("w") as log:
        started = [
            subprocess.Popen([ASSETS / name, *(f"--{k}={v}" for k, v in flags.items())], stdout=log, stderr=log)
            for name, flags in (("etcd", etcd), ("kube-apiserver", server))
        ]
        try:
            headers = {"authorization": "Bearer the-token"}
            with httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=False, headers=headers, timeout=60) as http:
                _wait(http, "/readyz", folder / "log")
                yield _prepared(ApiServer(http), folder / "log")
        finally:
            for process in reversed(started):
                process.terminate()
                process.wait(30)


def _wait(http: httpx.Client, path: str, log: Path) -> None:
    for _ in range(240):
        try:
            if http.get(path).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.5)
    pytest.fail(f"{path} does not answer: {log.read_text()[-2000:]}")


def _prepared(server: ApiServer, log: Path) -> ApiServer:
    """The server with CRDs, namespaces, and what every namespace has in a cluster."""
    for file in sorted(path for path in crd_folder().rglob("*") if path.suffix in (".yaml", ".json")):
        crd = yaml.safe_load(file.read_text(encoding="utf-8"))
        crd.pop("status", None)
        server.apply(crd, keep=True)  # its warnings are its makers' business; whether it is served is seen next
        spec = crd["spec"]
        for version in (one["name"] for one in spec["versions"] if one["served"]):
            _wait(server.client, f"/apis/{spec['group']}/{version}/{spec['names']['plural']}", log)
    everything = [one for folder in FOLDERS for one in objects(rendered(folder))]
    namespace = {one["metadata"].get("namespace", "dream") for one in everything} | {"argocd", "dream"}
    for name in namespace:
        server.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}, keep=True)
        account = {"name": "default", "namespace": name}
        server.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account}, keep=True)
    for one in sorted((one for one in everything if one["kind"] in KEPT), key=lambda one: KEPT.index(one["kind"])):
        assert server.apply(one, keep=True) == ""
    return server


def as_sent(pod: Pod) -> Object:
    """The pod that a controller would make of a template: claims are bound, workflow parameters filled in."""
    spec: dict[str, Any] = json.loads(re.sub(r"\{\{[^}]*\}\}", "1", json.dumps(pod.spec)))
    claimed = [
        {"name": claim["metadata"]["name"], "persistentVolumeClaim": {"claimName": f"{claim['metadata']['name']}-0"}}
        for claim in pod.claims
    ]
    spec["volumes"] = [*spec.get("volumes", []), *claimed]
    if pod.job:
        spec.setdefault("restartPolicy", "Never")
    metadata = {"name": "tried", "namespace": "dream", "labels": dict(pod.labels)}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


@pytest.mark.parametrize("folder", [*FOLDERS, "argocd", "argocd/apps"])
def test_the_server_takes_every_object(api: ApiServer, folder: str):
    assert [problem for one in objects(rendered(folder)) if (problem := api.apply(one))] == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_pod_security_lets_every_pod_in(api: ApiServer, folder: str):
    made = list(pods(objects(rendered(folder))))
    assert [f"{pod.owner}: {problem}" for pod in made if (problem := api.apply(as_sent(pod)))] == []


@pytest.mark.parametrize(("component", "folder", "name"), EVERY_USE)
def test_the_server_takes_what_a_component_makes_of_a_folder(
    api: ApiServer, tmp_path: Path, component: str, folder: str, name: str
):
    made = [one for one in with_component(tmp_path, folder, component, name) if one["kind"] not in WITHOUT_CRD]
    assert [problem for one in made if (problem := api.apply(one))] == []
    sent = [as_sent(pod) for pod in pods(made) if not pod.owner.startswith("Cluster ")]
    assert [problem for pod in sent if (problem := api.apply(pod))] == []


TYPOS = [
    ("production/mlflow", "replicas: 2", "replicsa: 2", "replicsa: field not declared in schema"),
    ("production/minio", "value: 500Gi", "value: 500GB", "quantities must match the regular expression"),
    ("laptop/mlflow", "memory: 512Mi", "memory: 5Gi", "must be less than or equal to memory limit of 1536Mi"),
    ("production/ray", "maxReplicas, value: 16", "maxReplicas, value: sixteen", "maxReplicas: expected numeric"),
    ("production/ray", "namespace: dream", "namespace: dreem", 'namespaces "dreem" not found'),
    ("laptop/backup", "15 2 * * *", "15 26 * * *", "above maximum (23)"),
    ("laptop/backup", "timeZone: Etc/UTC", "timeZone: Etc/UCTT", "unknown time zone Etc/UCTT"),
    ("laptop/backup", "Forbid", "Forbit", 'supported values: "Allow", "Forbid", "Replace"'),
    (
        "laptop/platform",
        'DREAM_BUCKET_PREFIX: ""',
        "DREAM_BUCKET_PREFIX: 7",
        "expected string, got &value.valueUnstructured",
    ),
    ("laptop/jupyter", "protocol: TCP", "protocol: TPC", 'Unsupported value: "TPC": supported values: "TCP"'),
    ("laptop/jupyter", "0.0.0.0/0", "0.0.0.0/33", "must be a valid CIDR"),
    ("laptop/serve", '"true"', "true", "expected string, got"),
    ("production/serve", "name: serve-nightly", "name: serve_nightly", "a lowercase RFC 1123 subdomain"),
    ("laptop/workflows", "retryStrategy:", "retryStrateg:", "retryStrateg: field not declared in schema"),
    ("laptop/workflows", "schedules:", "schedule:", "schedule: field not declared in schema"),
    ("laptop/ray", "mode: token", "mode: tokn", 'supported values: "disabled", "token"'),
    ("laptop/ray", "secretName: ray-token", "secretNam: ray-token", "secretNam: field not declared in schema"),
    ("laptop/ray", "containerPort: 10001", 'containerPort: "10001"', "containerPort: expected numeric"),
    ("laptop/serve", 'limits: {cpu: "1", memory: 1Gi}', "limits: {cpu: 1 core, memory: 1Gi}", "quantities must match"),
    ("laptop/mlflow", "- name: mlflow\n", "- name: mlfow\n", "spec.template.spec.containers[0].image: Required value"),
    ("argocd/apps", "selfHeal: true", "selfheal: true", "selfheal: field not declared in schema"),
]


@pytest.mark.parametrize(("folder", "right", "wrong", "said"), TYPOS)
def test_the_server_refuses_a_typo_in_words_that_name_it(
    api: ApiServer, checkout: Path, folder: str, right: str, wrong: str, said: str
):
    """The first file with that text is edited: of the overlay's folder, of what it takes in, or of the settings."""
    folder = folder if folder.startswith("argocd") else f"k8s/overlays/{folder}"
    places = [checkout / folder, checkout / "k8s" / Path(folder).name, checkout / "argocd/settings"]
    files = [file for place in places if place.is_dir() for file in sorted(place.glob("*.yaml"))]
    edited = next(file for file in files if right in file.read_text(encoding="utf-8"))
    text = edited.read_text(encoding="utf-8")
    edited.write_text(text.replace(right, wrong, 1), encoding="utf-8")
    try:
        program = tool("KUSTOMIZE_BINARY", "kustomize", "render the manifests")
        made = subprocess.run([program, "build", folder], cwd=checkout, capture_output=True, text=True, check=True)
        problems = [problem for one in objects(made.stdout) if (problem := api.apply(one))]
    finally:
        edited.write_text(text, encoding="utf-8")
    assert any(said in one for one in problems), problems


def test_it_would_refuse_a_pod_that_is_not_restricted_an_unknown_field_and_a_missing_account(api: ApiServer):
    found = objects(rendered("k8s/overlays/laptop"))
    (pod, *_) = (as_sent(pod) for pod in pods(found) if pod.owner == "StatefulSet minio")
    assert api.apply(pod) == ""
    privileged = json.loads(json.dumps(pod))
    privileged["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    assert 'violates PodSecurity "restricted' in api.apply(privileged)
    assert "not declared in schema" in api.apply({**pod, "spec": {**pod["spec"], "hostNetwrk": False}})
    assert "not found" in api.apply({**pod, "spec": {**pod["spec"], "serviceAccountName": "nobody"}})


def test_nobody_may_more_than_is_needed(api: ApiServer):
    found = objects(rendered("k8s/overlays/laptop"))
    asked = [
        (verb, group, resource)
        for verb in ("get", "create", "delete", "patch")
        for group, resource in [
            ("", "secrets"),
            ("", "pods"),
            ("", "pods/exec"),
            ("", "configmaps"),
            ("apps", "deployments"),
            ("ray.io", "rayclusters"),
            ("argoproj.io", "workflows"),
            ("argoproj.io", "workflowtemplates"),
            ("argoproj.io", "workflowtaskresults"),
        ]
    ]
    accounts = [one["metadata"]["name"] for one in found if one["kind"] == "ServiceAccount"]
    rights = {
        account: {f"{verb} {resource}" for verb, group, resource in asked if api.may(account, verb, group, resource)}
        for account in accounts
    }
    assert {account for account, some in rights.items() if some} == {"experimenter", "pipeline-executor"}
    assert rights["pipeline-executor"] == {"create workflowtaskresults", "patch workflowtaskresults"}
    assert [one for one in secrets() if api.may("experimenter", "get", "", "secrets", one)] == ["reports-s3"]
    assert rights["experimenter"] == {
        "get pods",
        "get workflowtemplates",
        "get workflowtaskresults",
        *(f"{verb} workflows" for verb in ("get", "create", "delete", "patch")),
    }


# --- an account that is admin of the namespace and nothing else ---


@pytest.fixture(scope="module")
def installer(api: ApiServer) -> ApiServer:
    """The server as seen by who has the ClusterRole `admin` and the Role of k8s/admin, both in the namespace `dream`.

    `admin` is put together from these three by a controller, which does not run here.
    """
    for one in objects(rendered("k8s/admin")):
        assert api.apply(one, keep=True) == ""
    subjects = [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "installer"}]
    parts = [("ClusterRole", f"system:aggregate-to-{name}") for name in ("admin", "edit", "view")]
    for number, (kind, name) in enumerate([*parts, ("Role", "installer")]):
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}
        metadata = {"name": f"installer-{number}", "namespace": "dream"}
        binding = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata}
        assert api.apply({**binding, "roleRef": reference, "subjects": subjects}, keep=True) == ""
    headers = {"authorization": "Bearer the-other-token"}
    return ApiServer(httpx.Client(base_url=api.client.base_url, verify=False, headers=headers, timeout=60))


@pytest.mark.parametrize("name", ["laptop", "production"])
def test_the_admin_of_a_namespace_may_install_everything_in_it(installer: ApiServer, tmp_path: Path, name: str):
    platform = tmp_path / "k8s/overlays" / name / "platform/kustomization.yaml"
    shutil.copytree(K8S, tmp_path / "k8s")
    added = "components:\n" + "".join(
        f"  - ../../../components/{one}\n" for one in ("existing-namespace", "operators-inside")
    )
    platform.write_text(platform.read_text().replace("components:\n", added))
    found = objects(rendered(str(platform.parents[1])))
    assert [problem for one in found if (problem := installer.apply(one))] == []


def test_without_the_role_of_the_admin_folder_it_may_not(installer: ApiServer, api: ApiServer):
    path = "/apis/rbac.authorization.k8s.io/v1/namespaces/dream/rolebindings/installer-3"
    kept = api.client.get(path).json()
    role = next(one for one in objects(rendered("k8s/workflows")) if one["kind"] == "Role")
    changed = {**role, "metadata": {**role["metadata"], "name": "another"}}
    try:
        assert api.client.delete(path).status_code == 200
        assert "attempting to grant RBAC permissions" in installer.apply(changed)
    finally:
        kept["metadata"] = {key: kept["metadata"][key] for key in ("name", "namespace")}
        assert api.apply(kept, keep=True) == ""
    assert "cannot patch resource" in installer.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}}
    )
