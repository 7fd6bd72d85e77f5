#!/usr/bin/env bash
# Validates all manifests with whatever tools are on the PATH, says which were missing, and fails on the first fault.
# The tests (`make test`) check more; this is for those who have Kubernetes tools and no Python environment.
#
# Needs kustomize or kubectl. Uses kubectl-validate (with CRDS=<folder of CRDs, YAML or JSON>), kubeconform, kube-linter,
# checkov, shellcheck and yamllint where they are found.
set -euo pipefail
cd "$(dirname "$0")/.."

has() { command -v "$1" >/dev/null; }
skip() { echo "skipped: $1 is not on the PATH"; }
build() { if has kustomize; then kustomize build "$1"; else kubectl kustomize "$1"; fi; }

place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT
out="$place/built"
mkdir "$out" "$place/crds"
while read -r file; do
    folder="$(dirname "$file")"
    case "$folder" in */components/* | k8s/site | argocd/settings) continue ;; esac
    build "$folder" >"$out/${folder//\//-}.yaml"
done < <(find k8s argocd -name kustomization.yaml | sort)
echo "built: $(find "$out" -name '*.yaml' | wc -l) folders"

crds="${CRDS:-../shared/crds}"
if has kubectl-validate && [ -d "$crds" ]; then
    find "$crds" -name '*.json' -o -name '*.yaml' | while read -r file; do
        name="$(basename "${file%.*}")"
        cp "$file" "$place/crds/$name.yaml"
    done
    kubectl-validate --version "${KUBERNETES_SCHEMA:-1.30}" --local-crds "$place/crds" "$out" >"$place/log" 2>&1 ||
        { cat "$place/log"; exit 1; }
    echo "kubectl-validate: every object would be taken"
else echo "skipped: kubectl-validate is not on the PATH, or there is no folder of CRDs at $crds"; fi

if has kubeconform && [ -n "${KUBECONFORM_SCHEMAS:-}" ]; then # a folder or URL of schemas; `default` fetches them
    kubeconform -strict -summary -ignore-missing-schemas -kubernetes-version 1.34.0 \
        -schema-location "$KUBECONFORM_SCHEMAS" "$out"/k8s-overlays-{laptop,production}.yaml
else echo "skipped: kubeconform is not on the PATH, or KUBECONFORM_SCHEMAS is not set"; fi

# Policy checks, each exception with its reason:
# latest-tag, no-read-only-root-fs  Ray writes to its root; tags are checked by the tests
# unset-cpu-requirements            custom resources' pods are checked by the tests
if has kube-linter; then
    kube-linter lint --exclude latest-tag,no-read-only-root-fs,unset-cpu-requirements "$out"/k8s-overlays-production.yaml
else skip kube-linter; fi

# CKV_K8S_15  imagePullPolicy Always: images are pinned by tag or digest, a node may keep them
# CKV_K8S_35  secrets as files: clients of S3, MLflow and PostgreSQL read variables
# CKV_K8S_40  user ids above 10000: the images' users are 999 and 1000
# CKV_K8S_43  digests: the tests want them of all images but ours, which is built per fork
if has checkov; then
    checkov --quiet --compact --framework kubernetes --skip-check CKV_K8S_15,CKV_K8S_35,CKV_K8S_40,CKV_K8S_43 \
        --file "$out/k8s-overlays-production.yaml"
else skip checkov; fi

if has yamllint; then yamllint --strict k8s argocd .github; else skip yamllint; fi
if has shellcheck; then shellcheck k8s/*.sh .ci/run; else skip shellcheck; fi
echo "All checks that could run have passed."
