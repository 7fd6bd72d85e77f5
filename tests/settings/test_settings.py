"""Settings: defaults with nothing set, all mistakes at once, and no secret in what is printed."""

import pickle
from pathlib import Path

import pytest

from dream.errors import ConfigurationError
from dream.settings import KNOWN_VARIABLES, Settings, project_home


def test_with_nothing_set_everything_is_local_and_offline(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = Settings.from_environment({})
    assert settings.offline
    assert settings.documents_uri == str(tmp_path / ".dream" / "documents")
    assert settings.cache_uri == str(tmp_path / ".dream" / "cache")
    assert settings.mlflow_tracking_uri == f"sqlite:///{tmp_path}/.dream/mlflow.db"
    assert settings.ray_address is None
    assert len(settings.llms) * len(settings.embed_models) == 4


def test_s3_endpoint_moves_all_places_into_buckets():
    settings = Settings.from_environment(
        {"S3_ENDPOINT_URL": "http://minio:9000", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    )
    places = (settings.documents_uri, settings.golden_datasets_uri, settings.experiments_uri, settings.cache_uri)
    assert places == ("s3://documents", "s3://golden-datasets", "s3://experiments", "s3://dream-cache")


def test_a_prefix_of_buckets_stands_before_every_default_location_in_s3():
    given = {"S3_ENDPOINT_URL": "http://x:9000", "DREAM_BUCKET_PREFIX": "acme-", "DREAM_EXPERIMENTS_URI": "s3://mine"}
    made = Settings.from_environment(given)
    places = (made.documents_uri, made.golden_datasets_uri, made.experiments_uri, made.cache_uri)
    assert places == ("s3://acme-documents", "s3://acme-golden-datasets", "s3://mine", "s3://acme-dream-cache")
    with pytest.raises(ConfigurationError, match=r"DREAM_BUCKET_PREFIX='Acme_'.*lower-case"):
        Settings.from_environment({"DREAM_BUCKET_PREFIX": "Acme_"})


def test_traces_are_a_number_or_a_word():
    for given in ("auto", "all", "0", "25"):
        assert Settings.from_environment({"DREAM_MLFLOW_TRACES": given}).mlflow_traces == given
    with pytest.raises(ConfigurationError, match="DREAM_MLFLOW_TRACES='-1': give auto, all, or the number"):
        Settings.from_environment({"DREAM_MLFLOW_TRACES": "-1"})


def test_how_documents_are_read():
    settings = Settings.from_environment({"DREAM_OCR_COMMAND": "ocrmypdf {input} {output}"})
    assert (settings.repeated_lines, settings.ocr_command) == ("drop", "ocrmypdf {input} {output}")
    with pytest.raises(ConfigurationError, match="DREAM_REPEATED_LINES='no': give drop or keep"):
        Settings.from_environment({"DREAM_REPEATED_LINES": "no"})
    with pytest.raises(ConfigurationError, match=r"name the files in it as \{input\} and \{output\}: ocrmypdf"):
        Settings.from_environment({"DREAM_OCR_COMMAND": "ocrmypdf in.pdf"})


def test_all_mistakes_are_reported_at_once():
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_environment(
            {
                "DREAM_LLM": "gpt-4o",
                "S3_ENDPOINT_URL": "minio:9000",
                "AWS_ACCESS_KEY_ID": "only-one-of-the-pair",
                "DREAM_ENDPOINT_VLLM_API_KEY": "key",
                "DREAM_ENDPOINT_TGI_BASE_URL": "http://tgi/v1",
                "DREAM_ENDPOINT_TGI_CONTEXT_WINDOW": "8k",
                "DREAM_DOCUMENTS_URI": "gs://bucket",
            }
        )
    message = str(caught.value)
    assert message.startswith("6 mistake(s)")
    for expected in ("DREAM_LLM ", "minio:9000", "AWS_SECRET_ACCESS_KEY", "VLLM_BASE_URL", "'8k'", "gs://bucket"):
        assert expected in message


def test_a_set_but_empty_variable_counts_as_unset():
    assert Settings.from_environment({"S3_ENDPOINT_URL": "", "OPENAI_API_KEY": " "}).offline


def test_endpoints_come_from_numbered_free_names():
    settings = Settings.from_environment(
        {
            "OPENAI_API_KEY": "sk-1",
            "DREAM_ENDPOINT_MY_VLLM_BASE_URL": "http://vllm:8000/v1/",
            "DREAM_ENDPOINT_MY_VLLM_CONTEXT_WINDOW": "16384",
        }
    )
    by_name = {endpoint.name: endpoint for endpoint in settings.endpoints}
    assert by_name["my_vllm"].base_url == "http://vllm:8000/v1"
    assert by_name["my_vllm"].context_window == 16384
    assert by_name["openai"].api_key == "sk-1"
    assert not settings.offline


def test_secrets_are_kept_out_of_repr_and_do_not_travel():
    secrets = {
        "OPENAI_API_KEY": "sk-very-secret",
        "AWS_ACCESS_KEY_ID": "id-very-secret",
        "AWS_SECRET_ACCESS_KEY": "aws-very-secret",
        "RAY_AUTH_TOKEN": "ray-very-secret",
    }
    settings = Settings.from_environment(secrets)
    assert "very-secret" not in repr(settings)
    travelling = settings.without_model_keys()
    assert [endpoint.api_key for endpoint in travelling.endpoints] == [None]
    assert travelling.ray_auth_token is None


def test_env_file_is_read_and_the_environment_wins(tmp_path, monkeypatch):
    (tmp_path / ".env").write_text("DREAM_JUDGE_LLM=from-file\nDREAM_LLMS=from-file\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DREAM_LLMS", "from-environment")
    settings = Settings.from_environment()
    assert (settings.judge_llm, settings.llms) == ("from-file", ("from-environment",))


def test_notebooks_share_the_home_of_the_folder_above(tmp_path):
    (tmp_path / ".dream").mkdir()
    (tmp_path / "notebooks").mkdir()
    assert project_home(Path(tmp_path / "notebooks")) == tmp_path


def test_a_url_with_a_password_is_refused_without_showing_it():
    with pytest.raises(ConfigurationError, match="OPENAI_BASE_URL contains a user or a password") as caught:
        Settings.from_environment({"OPENAI_BASE_URL": "http://me:hunter2@host/v1"})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        ("DREAM_OFFLINE", "yes", "DREAM_OFFLINE='yes': give 1 or 0"),
        ("DREAM_BUDGET_USD", "-1", "DREAM_BUDGET_USD='-1': give a number above 0"),
        ("DREAM_ENDPOINT_TGI_MAX_CONCURRENCY", "0", "DREAM_ENDPOINT_TGI_MAX_CONCURRENCY='0': give a whole number"),
        ("RAY_DASHBOARD_ADDRESS", "head:8265", "RAY_DASHBOARD_ADDRESS='head:8265' is not a URL"),
        ("DREAM_ENDPOINT_OPENAI_API_KEY", "k", "the endpoint name 'OPENAI' is taken"),
        ("DREAM_ENDPOINT_OFFLINE_BASE_URL", "http://a/v1", "the endpoint name 'OFFLINE' is taken"),
        ("DREAM_ENDPOINT_TGI_KEY", "k", "DREAM_ENDPOINT_TGI_KEY is not a setting of DREAM"),
        ("DREAM_JUDGE_LM", "gpt", "DREAM_JUDGE_LM is not a setting of DREAM (did you mean DREAM_JUDGE_LLM?); valid: "),
    ],
)
def test_a_mistake_names_the_variable_and_what_is_valid(variable, value, problem):
    values = {"DREAM_ENDPOINT_TGI_BASE_URL": "http://tgi/v1", variable: value}
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_environment(values)
    headline, line = str(caught.value).split("\n")
    assert headline == "1 mistake(s) in the settings:"
    assert line.startswith(f"  - {problem}")


def test_limits_of_the_default_endpoint_wait_until_it_is_in_use():
    limits = {"DREAM_ENDPOINT_OPENAI_REQUESTS_PER_MINUTE": "60"}
    assert Settings.from_environment(limits).endpoints == ()
    (endpoint,) = Settings.from_environment({**limits, "OPENAI_API_KEY": "k"}).endpoints
    assert (endpoint.base_url, endpoint.requests_per_minute) == ("https://api.openai.com/v1", 60)
    assert Settings.from_environment({"OPENAI_API_KEY": "k", "DREAM_OFFLINE": "1"}).endpoints == ()


def test_the_generator_is_the_judge_unless_named():
    settings = Settings.from_environment({"DREAM_JUDGE_LLM": "j"})
    assert (settings.judge_llm, settings.generator_llm) == ("j", "j")
    assert Settings.from_environment({"DREAM_GENERATOR_LLM": "g"}).generator_llm == "g"


def test_settings_travel_unchanged_and_cannot_be_changed():
    settings = Settings.from_environment({"OPENAI_API_KEY": "k", "DREAM_BUDGET_USD": "2.5"})
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert settings.budget.usd == 2.5
    with pytest.raises(AttributeError):
        settings.home = "elsewhere"  # pyright: ignore[reportAttributeAccessIssue]


def test_every_known_variable_is_read_once():
    assert len(set(KNOWN_VARIABLES)) == len(KNOWN_VARIABLES)
    assert all(name.startswith("DREAM_") for name in KNOWN_VARIABLES)


def test_a_password_of_the_tracking_server_is_not_shown():
    assert "hunter2" not in repr(Settings.from_environment({"MLFLOW_TRACKING_URI": "http://me:hunter2@mlflow"}))


def test_the_form_of_an_endpoints_requests_can_be_set():
    prefix = "DREAM_ENDPOINT_AZURE_"
    given = {
        "BASE_URL": "https://a.example/openai/deployments/d/chat/completions?api-version=2024-10-21",
        "RESPONSE_FORMAT": "json_schema",
        "MAX_TOKENS_PARAMETER": "max_completion_tokens",
        "OMIT": "temperature, top_p",
        "ENCODING_FORMAT": "float",
        "EMBED_BATCH_SIZE": "16",
        "MAX_INPUT_TOKENS": "512",
        "AUTH_HEADER": "Api-Key",
    }
    (endpoint,) = Settings.from_environment({prefix + name: value for name, value in given.items()}).endpoints
    assert endpoint.base_url == "https://a.example/openai/deployments/d?api-version=2024-10-21"
    assert (endpoint.omit, endpoint.auth_header) == (("temperature", "top_p"), "api-key")
    assert (endpoint.response_format, endpoint.max_tokens_parameter) == ("json_schema", "max_completion_tokens")
    assert (endpoint.encoding_format, endpoint.embed_batch_size, endpoint.max_input_tokens) == ("float", 16, 512)
    wrong = {"RESPONSE_FORMAT": "xml", "MAX_TOKENS_PARAMETER": "n", "EMBED_BATCH_SIZE": "0", "AUTH_HEADER": "a b"}
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_environment({prefix + name: value for name, value in {**given, **wrong}.items()})
    for part in (
        "'xml': give json_object, json_schema or text",
        "max_completion_tokens",
        "at least 1",
        "not the name of",
    ):
        assert part in str(caught.value), part
