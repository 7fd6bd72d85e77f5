"""Storage for a URI."""

import re
from pathlib import Path
from urllib.parse import unquote

from dream.errors import ConfigurationError
from dream.settings import Settings
from dream.storage.base import Storage
from dream.storage.bucket import Bucket
from dream.storage.local import LocalStorage
from dream.storage.s3 import S3Storage

_BUCKET = re.compile(r"(?!\d+(\.\d+){3}$)[a-z0-9](?:[a-z0-9-]|\.(?!\.)){1,61}[a-z0-9]")


def open_storage(uri: str, settings: Settings) -> Storage:
    """The storage at `s3://bucket/prefix`, `file:///folder` or a folder's path. Opens no connection.

    Raises:
        ConfigurationError: for a URI with another scheme, or an invalid bucket name.

    Example:
        >>> open_storage("s3://documents/papers/", Settings.from_environment({})).uri("a.pdf")
        's3://documents/papers/a.pdf'
    """
    scheme, separator, rest = uri.partition("://")
    if not uri.strip() or (uri.lower().startswith("s3:") and not separator):
        raise ConfigurationError(f"{uri!r} is not a storage URI: write s3://bucket/prefix or a folder")
    if not separator:
        return LocalStorage(str(Path(uri).expanduser().resolve()))
    if scheme.lower() == "file" and rest.startswith("/"):
        return LocalStorage(str(Path(unquote(rest)).resolve()))
    if scheme.lower() != "s3":
        raise ConfigurationError(f"{uri!r} is not supported: write s3://bucket/prefix, file:///folder or a folder")
    bucket, _, prefix = rest.partition("/")
    if not _BUCKET.fullmatch(bucket):
        rule = "3 to 63 lower-case letters, digits, hyphens and dots, with a letter or a digit at both ends"
        raise ConfigurationError(f"{uri!r}: {bucket!r} is not a valid bucket name: use {rule}")
    keys = (settings.s3_access_key_id, settings.s3_secret_access_key)
    return S3Storage(Bucket(bucket, settings.s3_endpoint_url, settings.s3_region, *keys), prefix.strip("/"))
