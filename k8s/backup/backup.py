"""Copies to and from S3 for the backup Jobs.

    backup.py upload FILE PREFIX --keep 14    FILE goes into the bucket backups, as PREFIX<time>.dump; the oldest go
    backup.py download PREFIX FILE            the newest under PREFIX
    backup.py mirror BUCKET...                new and changed objects go to the other server, under the bucket's name
    backup.py fetch BUCKET...                 the same, back

The server is S3_ENDPOINT_URL with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; the other one has the same three
names with TARGET_ in front, and TARGET_BUCKET: one bucket there holds all. Nothing is ever deleted there.
Without keys, boto3's own search for them counts (roles of AWS). DREAM_BUCKET_PREFIX stands before our buckets' names.
"""

import argparse
import os
import sys
import time

import boto3


def named(bucket: str) -> str:
    """A bucket's name in this installation."""
    return os.environ.get("DREAM_BUCKET_PREFIX", "") + bucket


def server(prefix: str = ""):
    return boto3.client(
        "s3",
        endpoint_url=os.environ.get(f"{prefix}S3_ENDPOINT_URL") or None,
        region_name=os.environ.get(f"{prefix}AWS_REGION", "us-east-1"),
        aws_access_key_id=os.environ.get(f"{prefix}AWS_ACCESS_KEY_ID"),
        aws_secret_access_key=os.environ.get(f"{prefix}AWS_SECRET_ACCESS_KEY"),
    )


def upload(file: str, prefix: str, keep: int) -> None:
    if not os.path.getsize(file):
        sys.exit(f"{file} is empty: not kept, and nothing older is removed")
    s3, bucket = server(), named("backups")
    key = f"{prefix}{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.dump"
    s3.upload_file(file, bucket, key)
    print(f"s3://{bucket}/{key}: {os.path.getsize(file)} bytes")
    for old in sorted(objects(s3, bucket, prefix))[:-keep]:
        s3.delete_object(Bucket=bucket, Key=old)
        print(f"s3://{bucket}/{old}: removed, {keep} are kept")


def download(prefix: str, file: str) -> None:
    s3, bucket = server(), named("backups")
    keys = sorted(objects(s3, bucket, prefix))
    if not keys:
        sys.exit(f"s3://{bucket}/{prefix}: no backup there")
    s3.download_file(bucket, keys[-1], file)
    print(f"s3://{bucket}/{keys[-1]}: read")


def mirror(buckets: list[str]) -> None:
    source, target, place = server(), server("TARGET_"), os.environ["TARGET_BUCKET"]
    for bucket in buckets:
        copy(source, named(bucket), "", target, place, f"{bucket}/")


def fetch(buckets: list[str]) -> None:
    source, target, place = server("TARGET_"), server(), os.environ["TARGET_BUCKET"]
    for bucket in buckets:
        copy(source, place, f"{bucket}/", target, named(bucket), "")


def copy(source, bucket: str, prefix: str, target, place: str, new_prefix: str) -> None:
    """Copy what is missing, differs in size or is newer at the source."""
    there = objects(target, place, new_prefix)
    copied = 0
    for key, (size, changed) in objects(source, bucket, prefix).items():
        name = new_prefix + key.removeprefix(prefix)
        if name in there and there[name][0] == size and there[name][1] >= changed:
            continue
        target.upload_fileobj(source.get_object(Bucket=bucket, Key=key)["Body"], place, name)
        copied += 1
    print(f"{bucket}/{prefix} to {place}/{new_prefix}: {copied} objects copied")


def objects(s3, bucket: str, prefix: str) -> dict:
    """Every key under `prefix` with its size and when it was written."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return {i["Key"]: (i["Size"], i["LastModified"]) for page in pages for i in page.get("Contents", [])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    add = commands.add_parser("upload")
    add.add_argument("file")
    add.add_argument("prefix")
    add.add_argument("--keep", type=int, default=14)
    add = commands.add_parser("download")
    add.add_argument("prefix")
    add.add_argument("file")
    for name in ("mirror", "fetch"):
        commands.add_parser(name).add_argument("buckets", nargs="+")
    options = vars(parser.parse_args())
    {"upload": upload, "download": download, "mirror": mirror, "fetch": fetch}[options.pop("command")](**options)


if __name__ == "__main__":
    main()
