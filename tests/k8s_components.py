"""The folders of k8s/components, where each of them is used, and a folder of an overlay with one of them."""

import os
from pathlib import Path

import yaml
from k8s_objects import K8S, Object, objects, overlay, rendered

# Each component: the folders that it is for, and the folders of which it takes the place.
COMPONENTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "aws-identity": ((), ()),  # for k8s/site: a test of its own
    "cloudnative-pg": (("postgres",), ()),
    "existing-namespace": (("platform",), ()),
    "external-mlflow": (("platform",), ("mlflow", "postgres", "backup")),
    "external-postgres": (("platform",), ("postgres", "backup")),
    "external-s3": (("platform",), ("minio",)),
    "gcs-fault-tolerance": (("ray",), ()),
    "ingress": (("jupyter",), ()),
    "kueue": (("ray",), ()),
    "operators-inside": (("platform",), ()),
    "spot-workers": (("ray",), ()),
    "sign-on": (("mlflow",), ()),
    "pull-secret": ((), ()),  # for k8s/site: a test of its own
    "serve-traces": (("serve",), ()),
    "storage-class": (("minio", "postgres", "jupyter"), ()),
    "tei-endpoint": (("platform",), ()),
    "vllm-endpoint": (("platform",), ()),
}
EVERY_USE = [
    (c, folder, name) for c, (to, _) in COMPONENTS.items() for folder in to for name in ("laptop", "production")
]


def with_component(tmp_path: Path, folder: str, component: str, name: str, first: bool = False) -> list[Object]:
    """A folder of an overlay with one of k8s/components in its list, last (or first), as its heading says to use it."""
    source = K8S / "overlays" / name / folder
    made = yaml.safe_load((source / "kustomization.yaml").read_text(encoding="utf-8"))
    own, added = made.get("components", []), os.path.relpath(K8S / "components" / component, source)
    if added not in own:
        made["components"] = [added, *own] if first else [*own, added]
    for key in ("resources", "components"):
        made[key] = [os.path.relpath((source / path).resolve(), tmp_path) for path in made[key]]
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(made))
    return objects(rendered(str(tmp_path)))


def rest_of(name: str, changed: list[Object], folder: str, leaves_out: tuple[str, ...] = ()) -> list[Object]:
    """An overlay with one of its folders changed and others left out."""
    gone = [objects(rendered(f"k8s/overlays/{name}/{one}")) for one in (folder, *leaves_out)]
    own = {(one["kind"], one["metadata"]["name"]) for found in gone for one in found}
    return [*changed, *(one for one in overlay(name) if (one["kind"], one["metadata"]["name"]) not in own)]
