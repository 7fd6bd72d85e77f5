"""Strict checks of custom resources against their CRDs: a field that the CRD does not know is an error.

The CRDs are kept beside the checkout (../shared/crds, or CRD_FOLDER); they are not part of it.
"""

import json
import os
import re
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator
from k8s_objects import REPOSITORY, Object, name_of

# Maps with free keys, of which we use few: names that a misspelling would slip through.
KNOWN_KEYS = {
    "requests": r"cpu|memory|storage|ephemeral-storage|nvidia\.com/gpu",
    "limits": r"cpu|memory|storage|ephemeral-storage|nvidia\.com/gpu",
    "rayStartParams": r"dashboard-host|num-cpus|num-gpus|block",
    "matchLabels": r"app\.kubernetes\.io/(name|component|part-of)|ray\.io/(is-ray-node|node-type)"
    r"|kubernetes\.io/metadata\.name|dream/asks-serve",
}


def crd_folder() -> Path:
    return Path(os.environ.get("CRD_FOLDER", REPOSITORY.parent / "shared/crds"))


@cache
def validators() -> dict[tuple[str, str], Draft202012Validator]:
    folder = crd_folder()
    if not folder.is_dir():
        reason = f"no CRDs at {folder}: set CRD_FOLDER to a folder of them as JSON"
        if os.environ.get("CI") == "true" and shutil.which("go") and (REPOSITORY.parent / "shared").is_dir():
            pytest.fail(reason)
        pytest.skip(reason)
    made = {}
    for path in sorted(folder.glob("*/*.json")):
        spec = json.loads(path.read_text())["spec"]
        for version in spec["versions"]:
            schema = closed(version["schema"]["openAPIV3Schema"])
            schema["properties"]["metadata"] = {"type": "object"}
            schema["properties"].pop("status", None)
            made[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = Draft202012Validator(schema)
    return made


def closed(schema: Any) -> Any:
    """An OpenAPI v3 schema of a CRD as JSON Schema that takes no unknown field.

    allOf, anyOf and oneOf speak of values only and stay as they are; a required field with a default may be left out,
    since the API server fills it in before it looks.
    """
    if not isinstance(schema, dict):
        return schema
    made = {
        key: value
        for key, value in schema.items()
        if key not in ("nullable", "format", "properties") and key[:2] != "x-"
    }
    if "properties" in schema:
        made["properties"] = {name: closed(one) for name, one in schema["properties"].items()}
    for key in ("items", "additionalProperties"):
        if key in schema:
            made[key] = closed(schema[key])
    if schema.get("x-kubernetes-int-or-string"):
        made.pop("anyOf", None)
        made["type"] = ["integer", "string"]
    if "required" in made:
        known = schema.get("properties", {})
        made["required"] = [name for name in made["required"] if "default" not in known.get(name, {})]
    if schema.get("nullable") and "type" in made:
        made["type"] = [made["type"], "null"]
    free = "additionalProperties" in made or schema.get("x-kubernetes-preserve-unknown-fields")
    if made.get("type") == "object" and not free:
        made["additionalProperties"] = False
    return made


def schema_problems(found: list[Object]) -> list[str]:
    """What the CRDs have against our custom resources; built-in kinds are kubectl-validate's."""
    problems = []
    for one in found:
        validator = validators().get((one["apiVersion"], one["kind"]))
        for error in validator.iter_errors(one) if validator else ():
            where = "/".join(str(part) for part in error.instance_path)
            problems.append(f"{name_of(one)} {where}: {error.message[:200]}")
        problems += key_problems(name_of(one), one)
    return problems


def key_problems(where: str, value: Any) -> list[str]:
    if isinstance(value, list):
        return [problem for item in value for problem in key_problems(where, item)]
    if not isinstance(value, dict):
        return []
    problems = []
    for key, inner in value.items():
        if key in KNOWN_KEYS and isinstance(inner, dict):
            problems += [f"{where} {key}: unknown {name}" for name in inner if not re.fullmatch(KNOWN_KEYS[key], name)]
        problems += key_problems(where, inner)
    return problems
