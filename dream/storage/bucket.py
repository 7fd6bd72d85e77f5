"""A bucket of an S3 server, by boto3; errors name the object, the server and the remedy."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import IO, Any

from dream.errors import StorageError

CONNECT_SECONDS = 3
READ_SECONDS = 60
ATTEMPTS = 3
CHUNK_BYTES = 1 << 20

_KEYS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_SERVER = (
    "Check that the server runs. To start your own: "
    "MINIO_ROOT_USER=<key id> MINIO_ROOT_PASSWORD=<secret> minio server ./data --address :9000; "
    f"then set S3_ENDPOINT_URL=http://127.0.0.1:9000, {_KEYS} to the same. "
    "Without S3_ENDPOINT_URL, DREAM keeps everything in a local folder"
)
_ADVICE = {
    "NoSuchBucket": "there is no such bucket: check the name; `dream doctor` creates the buckets of the settings",
    "NoSuchKey": "there is no such object: check the key, or create it first",
    "InvalidAccessKeyId": f"the server does not know the access key: set {_KEYS} to a pair of this server",
    "SignatureDoesNotMatch": f"the secret does not belong to the access key: check {_KEYS} for a missing character",
    "AccessDenied": "the access key has no permission for this: allow it to read and write the bucket, or use another",
    "ExpiredToken": "the session has expired: sign in again",
    "RequestTimeTooSkewed": "this machine's clock and the server's differ too much: set the clock",
    "BucketAlreadyExists": "the name belongs to another account: choose another bucket",
    "InvalidBucketName": "the server refuses the bucket's name: choose another",
    "403": f"refused: either {_KEYS} are wrong, or the key has no right to this bucket",
    "404": "not found: check the bucket, the key and S3_ENDPOINT_URL",
}
_WRONG_REGION = ("PermanentRedirect", "301", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException")


@dataclass(frozen=True)
class Bucket:
    """A bucket with its server and credentials. Without keys, boto3's credential chain is used.

    `endpoint_url` None is AWS S3.
    """

    name: str
    endpoint_url: str | None = None
    region: str = "us-east-1"
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)

    def ensure(self) -> None:
        """Create the bucket if it does not exist."""
        with self._explained(""):
            if self._response(self._client.list_objects_v2, MaxKeys=1) is None:
                self._create()

    def list(self, prefix: str) -> Iterator[tuple[str, int, float, str]]:
        """Key, size in bytes, modification time and ETag of every object whose key starts with `prefix`."""
        with self._explained(prefix):
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix):
                for item in page.get("Contents", ()):
                    yield item["Key"], item["Size"], item["LastModified"].timestamp(), item.get("ETag", "")

    def head(self, key: str) -> tuple[int, Mapping[str, str]] | None:
        """Size in bytes and metadata of an object, None if it does not exist."""
        with self._explained(key):
            response = self._response(self._client.head_object, Key=key)
        return response and (response["ContentLength"], response["Metadata"])

    def content(self, key: str) -> bytes | None:
        """The content of an object, None if it does not exist."""
        with self._explained(key):
            response = self._response(self._client.get_object, Key=key)
            return response and response["Body"].read()

    def chunks(self, key: str) -> Iterator[bytes]:
        """The content of an object in chunks of `CHUNK_BYTES`."""
        with self._explained(key):
            yield from self._client.get_object(**self._location(key))["Body"].iter_chunks(CHUNK_BYTES)

    def put(self, key: str, content: bytes, metadata: Mapping[str, str]) -> None:
        """Store an object."""
        with self._explained(key):
            self._client.put_object(**self._location(key), Body=content, Metadata=metadata)

    def put_file(self, key: str, source: IO[bytes], metadata: Mapping[str, str]) -> None:
        """Store a file of any size; a large one by multipart upload, which is atomic."""
        with self._explained(key):
            self._client.upload_fileobj(source, **self._location(key), ExtraArgs={"Metadata": metadata})

    def delete(self, key: str) -> None:
        """Delete an object; a missing object is not an error."""
        with self._explained(key):
            self._client.delete_object(**self._location(key))

    @property
    def _client(self) -> Any:
        connection = (self.endpoint_url, self.region, self.access_key_id, self.secret_access_key)
        return _client_of_process(os.getpid(), *connection)

    def _location(self, key: str) -> dict[str, str]:
        return {"Bucket": self.name, "Key": key}

    def _response(self, send: Callable[..., Any], **arguments: str | int) -> Any:
        """The response to a request; None if the object or the bucket does not exist."""
        from botocore.exceptions import ClientError

        try:
            return send(Bucket=self.name, **arguments)
        except ClientError as error:
            if error.response["Error"]["Code"] in ("404", "NoSuchKey", "NoSuchBucket"):
                return None
            if "Key" in arguments:
                # A HEAD response has no body and so no reason; a listing fails for the same reason and states it.
                self._client.list_objects_v2(Bucket=self.name, MaxKeys=1)
            raise

    def _create(self) -> None:
        from botocore.exceptions import ClientError

        # AWS accepts us-east-1 only as the default, and every other region only if named.
        location = (
            {} if self.region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": self.region}}
        )
        try:
            self._client.create_bucket(Bucket=self.name, **location)
        except ClientError as error:
            # Another process created it first.
            if error.response["Error"]["Code"] != "BucketAlreadyOwnedByYou":
                raise

    @contextmanager
    def _explained(self, key: str) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (BotoCoreError, ClientError, ValueError) as error:
            server = self.endpoint_url or f"AWS S3 ({self.region})"
            raise StorageError(f"s3://{self.name}/{key} at {server}: {self._problem(error)}") from error

    def _problem(self, error: Exception) -> str:
        from botocore import exceptions, parsers

        if isinstance(error, exceptions.ClientError):
            return self._refusal(error)
        if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
            _client_of_process.cache_clear()
            return f"no keys: set {_KEYS}"
        if isinstance(error, parsers.ResponseParserError):
            return "the response is not from an S3 API: check S3_ENDPOINT_URL (the port of a web console differs)"
        if isinstance(error, exceptions.ConnectionError | exceptions.HTTPClientError):
            advice = _SERVER if self.endpoint_url else "Check the network, or set S3_ENDPOINT_URL to your own server"
            return f"no connection ({error}). {advice}"
        return f"{type(error).__name__}: {error}"

    def _refusal(self, error: Any) -> str:
        code, message = error.response["Error"].get("Code", "?"), error.response["Error"].get("Message", "")
        if code in _WRONG_REGION:
            return f"{message} ({code}): the bucket is not in region {self.region}: set AWS_REGION to the bucket's"
        return f"{_ADVICE[code]} ({code})" if code in _ADVICE else f"{message} ({code})"


@lru_cache
def _client_of_process(
    process: int, endpoint_url: str | None, region: str, access_key_id: str | None, secret_access_key: str | None
) -> Any:
    """boto3's client; `process` keeps a forked process from using its parent's connections."""
    from boto3.session import Session
    from botocore.config import Config

    return Session().client(
        "s3",
        endpoint_url=endpoint_url,
        region_name=region,
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret_access_key,
        config=Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            max_pool_connections=32,
            # Some servers other than AWS do not support trailing checksums and bucket names in host names.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path" if endpoint_url else "auto"},
        ),
    )
