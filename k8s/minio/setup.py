"""Makes MinIO's buckets, and for each of DREAM, reports, MLflow and the backup a user with least rights.

What is of use for some time only is deleted after it: `EXPIRE`. Safe to run again.

Usage: setup.py FOLDER, with S3_ENDPOINT_URL set; FOLDER holds one folder a Secret, one file a key, as Kubernetes
mounts them: minio-root, dream-s3, reports-s3, mlflow-s3, backup-s3.
"""

import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import ClientError
from minio import MinioAdmin
from minio.credentials import StaticProvider

DREAM_BUCKETS = ("documents", "golden-datasets", "experiments", "dream-cache", "reports")
BUCKETS = (*DREAM_BUCKETS, "mlflow", "backups")
# Days after which objects under a prefix of a bucket go: reports and logs of workflows, and the answers of those with
# `fresh-answers`, which only a retry of the same workflow reads again.
EXPIRE = {"reports": ("", 180), "dream-cache": ("fresh/", 30)}
READ = ["s3:GetObject", "s3:ListBucket", "s3:GetBucketLocation", "s3:ListBucketMultipartUploads"]
WRITE = [*READ, "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
# Secret: what its user may do. The backup reads everything; it writes its own bucket, and nothing else.
RIGHTS = {
    "dream-s3": [(WRITE, DREAM_BUCKETS)],
    "reports-s3": [(WRITE, ("reports",))],  # shown to people by Argo's server
    "mlflow-s3": [(WRITE, ("mlflow",))],
    "backup-s3": [(READ, BUCKETS), (WRITE, ("backups",))],
}


def named(bucket: str) -> str:
    """A bucket's name in this installation."""
    return os.environ.get("DREAM_BUCKET_PREFIX", "") + bucket


def main(folder: Path) -> None:
    url = os.environ["S3_ENDPOINT_URL"]
    root = keys_in(folder / "minio-root", "MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD")
    make_buckets(url, root)
    make_users(url, root, folder)


def keys_in(folder: Path, *names: str) -> tuple[str, str]:
    user, secret = ((folder / name).read_text(encoding="utf-8").strip() for name in names)
    return user, secret


def make_buckets(url: str, root: tuple[str, str]) -> None:
    s3 = boto3.client("s3", endpoint_url=url, aws_access_key_id=root[0], aws_secret_access_key=root[1])
    for bucket in map(named, BUCKETS):
        try:
            s3.create_bucket(Bucket=bucket)
            print(f"bucket {bucket}: made")
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                raise
            print(f"bucket {bucket}: there")
    for bucket, (prefix, days) in EXPIRE.items():
        rule = {"ID": "dream", "Status": "Enabled", "Filter": {"Prefix": prefix}, "Expiration": {"Days": days}}
        s3.put_bucket_lifecycle_configuration(Bucket=named(bucket), LifecycleConfiguration={"Rules": [rule]})
        print(f"bucket {named(bucket)}: {prefix or 'everything'} is kept for {days} days")


def make_users(url: str, root: tuple[str, str], folder: Path) -> None:
    parts = urlsplit(url)
    admin = MinioAdmin(endpoint=parts.netloc, credentials=StaticProvider(*root), secure=parts.scheme == "https")
    for name, rights in RIGHTS.items():
        user, secret = keys_in(folder / name, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        admin.policy_add(name, policy=policy(rights))
        admin.user_add(user, secret)
        admin.policy_set(name, user=user)
        print(f"user of {name}: may do what its policy says")


def policy(rights: list[tuple[list[str], tuple[str, ...]]]) -> dict:
    """A policy document; each bucket is named as itself and as its objects."""
    statements = [
        {
            "Effect": "Allow",
            "Action": actions,
            "Resource": [arn for b in buckets for arn in (f"arn:aws:s3:::{named(b)}", f"arn:aws:s3:::{named(b)}/*")],
        }
        for actions, buckets in rights
    ]
    return {"Version": "2012-10-17", "Statement": statements}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
