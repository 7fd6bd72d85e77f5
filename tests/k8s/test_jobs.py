"""The programs inside the manifests, run for real: MinIO's buckets and users, and the backups."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import boto3
import pytest
from botocore.exceptions import ClientError
from k8s_objects import K8S
from lab import S3Server


def program(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, K8S / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def client(server: S3Server, user: str | None = None, secret: str | None = None):
    return boto3.client(
        "s3",
        endpoint_url=server.url,
        region_name="us-east-1",
        aws_access_key_id=user or server.access_key_id,
        aws_secret_access_key=secret or server.secret_access_key,
    )


def may(action) -> bool:
    try:
        action()
    except ClientError as error:
        if error.response["Error"]["Code"] != "AccessDenied":
            raise
        return False
    return True


@pytest.fixture(scope="module")
def users(minio: S3Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    """MinIO set up twice by k8s/minio/setup.py, with keys mounted as Kubernetes does."""
    pytest.importorskip("minio")
    folder = tmp_path_factory.mktemp("keys")
    keys = {
        "minio-root": ("MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD", minio.access_key_id, minio.secret_access_key),
        **{
            f"{name}-s3": ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", name, f"{name}-secret-key")
            for name in ("dream", "reports", "mlflow", "backup")
        },
    }
    for name, (user_key, secret_key, user, secret) in keys.items():
        (folder / name).mkdir()
        (folder / name / user_key).write_text(user)
        (folder / name / secret_key).write_text(secret)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("S3_ENDPOINT_URL", minio.url)
        setup = program("minio/setup.py")
        setup.main(folder)
        setup.main(folder)
    return {name.removesuffix("-s3"): values[2:] for name, values in keys.items()}


@pytest.mark.parametrize(
    ("user", "reads", "writes"),
    [
        ("dream", {"documents", "golden-datasets", "experiments", "dream-cache", "reports"}, None),
        ("reports", {"reports"}, None),
        ("mlflow", {"mlflow"}, None),
        (
            "backup",
            {"documents", "golden-datasets", "experiments", "dream-cache", "reports", "mlflow", "backups"},
            {"backups"},
        ),
    ],
)
def test_each_user_may_do_what_it_needs_and_no_more(
    minio: S3Server, users: dict, user: str, reads: set, writes: set | None
):
    s3 = client(minio, *users[user])
    buckets = program("minio/setup.py").BUCKETS
    assert {b for b in buckets if may(lambda b=b: s3.list_objects_v2(Bucket=b))} == reads
    assert {b for b in buckets if may(lambda b=b: s3.put_object(Bucket=b, Key="x", Body=b""))} == (writes or reads)
    assert not may(lambda: s3.create_bucket(Bucket="another"))


def test_a_prefix_stands_before_the_name_of_every_bucket(minio: S3Server, users: dict, monkeypatch: pytest.MonkeyPatch):
    setup = program("minio/setup.py")
    monkeypatch.setenv("DREAM_BUCKET_PREFIX", "acme-")
    setup.make_buckets(minio.url, (minio.access_key_id, minio.secret_access_key))
    made = {one["Name"] for one in client(minio).list_buckets()["Buckets"]}
    assert {f"acme-{name}" for name in setup.BUCKETS} <= made
    (statement,) = setup.policy([(setup.READ, ("mlflow",))])["Statement"]
    assert statement["Resource"] == ["arn:aws:s3:::acme-mlflow", "arn:aws:s3:::acme-mlflow/*"]


def test_reports_and_fresh_answers_are_kept_for_some_time_and_nothing_else_expires(minio: S3Server, users: dict):
    s3, setup = client(minio), program("minio/setup.py")
    for bucket, kept in {"reports": ("", 180), "dream-cache": ("fresh/", 30)}.items():
        (rule,) = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
        assert (rule["Filter"]["Prefix"], rule["Expiration"]["Days"], rule["Status"]) == (*kept, "Enabled")
    for bucket in set(setup.BUCKETS) - {"reports", "dream-cache"}:
        with pytest.raises(ClientError, match="NoSuchLifecycleConfiguration"):
            s3.get_bucket_lifecycle_configuration(Bucket=bucket)


def test_dream_finds_its_buckets_with_its_own_keys(minio: S3Server, users: dict):
    from dream.storage import open_storage

    settings = minio.settings(AWS_ACCESS_KEY_ID=users["dream"][0], AWS_SECRET_ACCESS_KEY=users["dream"][1])
    for uri in (settings.documents_uri, settings.golden_datasets_uri, settings.experiments_uri):
        open_storage(uri, settings).ensure()


@pytest.fixture
def backup(moto: S3Server, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    for prefix in ("", "TARGET_"):
        monkeypatch.setenv(f"{prefix}S3_ENDPOINT_URL", moto.url)
        monkeypatch.setenv(f"{prefix}AWS_ACCESS_KEY_ID", moto.access_key_id)
        monkeypatch.setenv(f"{prefix}AWS_SECRET_ACCESS_KEY", moto.secret_access_key)
    monkeypatch.setenv("TARGET_BUCKET", "elsewhere")
    for bucket in ("backups", "elsewhere", "documents"):
        client(moto).create_bucket(Bucket=bucket)
    return program("backup/backup.py")


def run(backup: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["backup.py", *arguments])
    backup.main()


def test_the_newest_dump_comes_back_and_the_oldest_go(moto, backup, monkeypatch, tmp_path: Path):
    for day in (1, 2, 3):
        (tmp_path / "dump").write_text(f"day {day}")
        monkeypatch.setattr(backup.time, "strftime", lambda *_, day=day: f"2026010{day}T000000Z")
        run(backup, monkeypatch, "upload", str(tmp_path / "dump"), "postgres/", "--keep", "2")
    kept = client(moto).list_objects_v2(Bucket="backups", Prefix="postgres/")["Contents"]
    assert [one["Key"] for one in kept] == ["postgres/20260102T000000Z.dump", "postgres/20260103T000000Z.dump"]
    run(backup, monkeypatch, "download", "postgres/", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "day 3"


def test_an_empty_dump_replaces_nothing(backup, monkeypatch, tmp_path: Path):
    (tmp_path / "dump").touch()
    with pytest.raises(SystemExit, match="empty"):
        run(backup, monkeypatch, "upload", str(tmp_path / "dump"), "empty/")
    with pytest.raises(SystemExit, match="no backup there"):
        run(backup, monkeypatch, "download", "empty/", str(tmp_path / "back"))


def test_a_mirror_copies_what_is_new_and_brings_it_back(moto, backup, monkeypatch, capsys):
    s3 = client(moto)
    s3.put_object(Bucket="documents", Key="a/b.pdf", Body=b"one")
    run(backup, monkeypatch, "mirror", "documents")
    run(backup, monkeypatch, "mirror", "documents")
    assert "1 objects copied" in capsys.readouterr().out.splitlines()[0]
    s3.put_object(Bucket="documents", Key="a/b.pdf", Body=b"changed")
    run(backup, monkeypatch, "mirror", "documents")
    assert s3.get_object(Bucket="elsewhere", Key="documents/a/b.pdf")["Body"].read() == b"changed"
    s3.delete_object(Bucket="documents", Key="a/b.pdf")
    run(backup, monkeypatch, "fetch", "documents")
    assert s3.get_object(Bucket="documents", Key="a/b.pdf")["Body"].read() == b"changed"


def test_backups_know_the_prefix_of_buckets(moto, backup, monkeypatch, tmp_path: Path):
    s3 = client(moto)
    for bucket in ("acme-backups", "acme-documents"):
        s3.create_bucket(Bucket=bucket)
    monkeypatch.setenv("DREAM_BUCKET_PREFIX", "acme-")
    (tmp_path / "dump").write_text("a dump")
    run(backup, monkeypatch, "upload", str(tmp_path / "dump"), "prefixed/")
    run(backup, monkeypatch, "download", "prefixed/", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "a dump"
    s3.put_object(Bucket="acme-documents", Key="a.pdf", Body=b"one")
    run(backup, monkeypatch, "mirror", "documents")
    s3.delete_object(Bucket="acme-documents", Key="a.pdf")
    run(backup, monkeypatch, "fetch", "documents")
    assert s3.get_object(Bucket="acme-documents", Key="a.pdf")["Body"].read() == b"one"
