#!/usr/bin/env bash
# Prints every Secret that DREAM's manifests name, with new random values, as YAML. Nothing is written to disk.
#
#   k8s/secrets.sh | kubectl create -f -                                     into the cluster
#   k8s/secrets.sh | kubeseal --format yaml > sealed-secrets.yaml            for Git, with Sealed Secrets
#
# `kubectl create` leaves a Secret that exists as it is and says so: running it again changes no password.
# Model keys, read from your environment where set: OPENAI_API_KEY, and DREAM_ENDPOINT_<NAME>_API_KEY.
set -euo pipefail
namespace="${NAMESPACE:-dream}"

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

secret() { # name type [key value]...
    printf -- '---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: %s\n  namespace: %s\ntype: %s\nstringData:\n' \
        "$1" "$namespace" "$2"
    shift 2
    while [ $# -gt 0 ]; do
        printf '  %s: "%s"\n' "$1" "${2//\"/\\\"}"
        shift 2
    done
}

database="$(random)"
secret minio-root Opaque MINIO_ROOT_USER "root-$(random | cut -c1-8)" MINIO_ROOT_PASSWORD "$(random)"
secret dream-s3 Opaque AWS_ACCESS_KEY_ID dream AWS_SECRET_ACCESS_KEY "$(random)"
secret reports-s3 Opaque AWS_ACCESS_KEY_ID reports AWS_SECRET_ACCESS_KEY "$(random)"
secret mlflow-s3 Opaque AWS_ACCESS_KEY_ID mlflow AWS_SECRET_ACCESS_KEY "$(random)"
secret backup-s3 Opaque AWS_ACCESS_KEY_ID backup AWS_SECRET_ACCESS_KEY "$(random)"
secret mlflow-db kubernetes.io/basic-auth username mlflow password "$database" \
    uri "postgresql+psycopg2://mlflow:$database@postgres-rw:5432/mlflow"
secret ray-token Opaque auth_token "$(random)"
secret ray-redis Opaque password "$(random)"
secret jupyter Opaque token "$(random)"
secret dream-serve Opaque token "$(random)"

keys=()
while IFS='=' read -r name _; do
    case "$name" in
    OPENAI_API_KEY | DREAM_ENDPOINT_*_API_KEY) keys+=("$name" "${!name}") ;;
    esac
done < <(env)
if [ ${#keys[@]} -gt 0 ]; then secret dream-model-keys Opaque "${keys[@]}"; fi
