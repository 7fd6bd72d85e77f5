"""`Settings` and `Budget`, read from the environment."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from dream.defaults import ENGINES, MAX_ANSWER_TOKENS
from dream.errors import ConfigurationError, bullets
from dream.settings import readers
from dream.settings.endpoints import ENDPOINT_FIELDS, ENDPOINT_VARIABLE, Endpoint, read_endpoints
from dream.settings.variables import names_of, process_variables, read_fields, variable

_OFFLINE_MODELS = {
    "llms": "offline/llm-small,offline/llm-large",
    "embed_models": "offline/embed-small,offline/embed-large",
    "judge_llm": "offline/judge",
    "judge_embed_model": "offline/embed-large",
}
_OPENAI_MODELS = {
    "llms": "gpt-4o-mini,gpt-4.1-mini",
    "embed_models": "text-embedding-3-small,text-embedding-3-large",
    "judge_llm": "gpt-4o",
    "judge_embed_model": "text-embedding-3-small",
}


@dataclass(frozen=True)
class Budget:
    """Limits of one experiment over all its runs; None for no limit. Calls are those that reach an endpoint."""

    usd: float | None = variable("DREAM_BUDGET_USD", readers.amount)
    calls: float | None = variable("DREAM_BUDGET_CALLS", readers.amount)
    tokens: float | None = variable("DREAM_BUDGET_TOKENS", readers.amount)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that differs between a laptop and a cluster. Secrets are kept out of `repr`.

    Example:
        >>> Settings.from_environment({}).judge_llm
        'offline/judge'
    """

    home: str = variable("DREAM_HOME", readers.folder, "{project}/.dream")
    offline: bool = variable("DREAM_OFFLINE", readers.flag, "0")  # True also where no endpoint is set
    # storage: s3://bucket/prefix or a folder
    bucket_prefix: str = variable("DREAM_BUCKET_PREFIX", readers.bucket_prefix, "")  # of the default locations in S3
    documents_uri: str = variable("DREAM_DOCUMENTS_URI", readers.storage_uri, "{root}documents")
    golden_datasets_uri: str = variable("DREAM_GOLDEN_DATASETS_URI", readers.storage_uri, "{root}golden-datasets")
    experiments_uri: str = variable("DREAM_EXPERIMENTS_URI", readers.storage_uri, "{root}experiments")
    cache_uri: str = variable("DREAM_CACHE_URI", readers.storage_uri, "{cache}")  # indexes and model answers
    s3_endpoint_url: str | None = variable("S3_ENDPOINT_URL", readers.url)
    s3_region: str = variable("AWS_REGION AWS_DEFAULT_REGION", readers.any_text, "us-east-1")
    s3_access_key_id: str | None = variable("AWS_ACCESS_KEY_ID", readers.any_text, secret=True)
    s3_secret_access_key: str | None = variable("AWS_SECRET_ACCESS_KEY", readers.any_text, secret=True)
    # models: identifiers (`dream.models.pickers`); max_answer_tokens is the limit for an answer of an LLM
    llms: tuple[str, ...] = variable("DREAM_LLMS", readers.items, "{llms}")
    embed_models: tuple[str, ...] = variable("DREAM_EMBED_MODELS", readers.items, "{embed_models}")
    judge_llm: str = variable("DREAM_JUDGE_LLM", readers.any_text, "{judge_llm}")
    judge_embed_model: str = variable("DREAM_JUDGE_EMBED_MODEL", readers.any_text, "{judge_embed_model}")
    generator_llm: str = variable("DREAM_GENERATOR_LLM DREAM_JUDGE_LLM", readers.any_text, "{judge_llm}")
    max_answer_tokens: int = variable("DREAM_MAX_ANSWER_TOKENS", readers.count, str(MAX_ANSWER_TOKENS))
    # the gateway over HTTP (`dream.models.gateway_server`), of `dream gateway` and, if a port is set, of experiments
    gateway_token: str | None = variable("DREAM_GATEWAY_TOKEN", readers.token, secret=True)
    gateway_host: str = variable("DREAM_GATEWAY_HOST", readers.any_text, "127.0.0.1")
    gateway_port: int | None = variable("DREAM_GATEWAY_PORT", readers.count)
    serve_token: str | None = variable("DREAM_SERVE_TOKEN", readers.token, secret=True)  # of `dream serve`
    # `dream promote`: the repository, a token for it, and the kind of Git host, which opens the pull requests
    git_repository: str | None = variable("DREAM_GIT_REPOSITORY", readers.any_text)
    git_token: str | None = variable("DREAM_GIT_TOKEN", readers.any_text, secret=True)
    git_pull_requests: str | None = variable("DREAM_GIT_PULL_REQUESTS", readers.one_of("github", "gitea", "gitlab"))
    call_log: str | None = variable("DREAM_CALL_LOG", readers.log_place)  # (`dream.models.call_log`)
    prices: str | None = variable("DREAM_PRICES", readers.any_text)  # a JSON file (`dream.models.usage`)
    # tracking; mlflow_traces is the number of questions per trial with a trace: auto, all or a number
    mlflow_tracking_uri: str = variable(
        "MLFLOW_TRACKING_URI", readers.any_text, "sqlite:///{home}/mlflow.db", secret=True
    )
    mlflow_experiment: str = variable("MLFLOW_EXPERIMENT_NAME", readers.any_text, "dream")
    mlflow_traces: str = variable("DREAM_MLFLOW_TRACES", readers.traces, "auto")
    # documents: drop or keep headers and footers; a command for scanned PDFs, with {input} and {output}
    repeated_lines: str = variable("DREAM_REPEATED_LINES", readers.one_of("drop", "keep"), "drop")
    ocr_command: str | None = variable("DREAM_OCR_COMMAND", readers.ocr_command)
    # auto, in_process or ray (`dream.engines`)
    engine: str = variable("DREAM_ENGINE", readers.one_of(*ENGINES), "auto")
    # cluster: the dashboard is by default at http://<the cluster's host>:8265
    ray_address: str | None = variable("RAY_ADDRESS", readers.any_text)
    ray_auth_token: str | None = variable("RAY_AUTH_TOKEN", readers.any_text, secret=True)
    ray_dashboard_address: str | None = variable("RAY_DASHBOARD_ADDRESS", readers.url)
    endpoints: tuple[Endpoint, ...] = ()
    budget: Budget = field(default_factory=Budget)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "Settings":
        """Read the settings; `environment` replaces the process's own environment and `.env` file.

        Raises:
            ConfigurationError: naming every mistake at once.
        """
        values = process_variables() if environment is None else dict(environment)
        values = {name: value.strip() for name, value in values.items() if value.strip()}
        problems = [*_unknown_variables(values), *_key_pair_problems(values), *_gateway_problems(values)]
        endpoints = read_endpoints(values, problems)
        budget = Budget(**read_fields(Budget, values, {}, problems))
        own = read_fields(cls, values, _defaults(values, bool(endpoints)), problems)
        if problems:
            raise ConfigurationError(bullets(f"{len(problems)} mistake(s) in the settings:", problems))
        endpoints = () if own["offline"] else endpoints
        return cls(**{**own, "offline": not endpoints, "endpoints": endpoints, "budget": budget})

    def without_model_keys(self) -> "Settings":
        """A copy to send to workers, without model keys and tokens."""
        return replace(
            self,
            endpoints=tuple(replace(e, api_key=None) for e in self.endpoints),
            ray_auth_token=None,
            gateway_token=None,
            serve_token=None,
            git_token=None,
        )

    def secrets(self) -> tuple[str, ...]:
        """Every secret value in use, for removing them from messages."""
        values = [
            self.s3_secret_access_key,
            self.ray_auth_token,
            self.gateway_token,
            self.serve_token,
            self.git_token,
            *(e.api_key for e in self.endpoints),
        ]
        return tuple(secret for secret in values if secret)


KNOWN_VARIABLES = tuple(name for name in [*names_of(Settings), *names_of(Budget)] if name.startswith("DREAM_"))


def offline_models() -> dict[str, str]:
    """The settings fields that offline models fill, as `{field: identifiers}`."""
    return dict(_OFFLINE_MODELS)


def project_home(start: Path | None = None) -> Path:
    """The nearest folder of `start` and its parents that contains `.dream` or `.git`, else `start`."""
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / ".dream").is_dir() or (folder / ".git").exists():
            return folder
    return start


def safe_uri(uri: str) -> str:
    """A URI without the user and password that it may contain.

    Example:
        >>> safe_uri("postgresql://me:secret@db/mlflow")
        'postgresql://db/mlflow'
    """
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if "@" in parts.netloc else uri


def _gateway_problems(values: Mapping[str, str]) -> list[str]:
    if values.get("DREAM_GATEWAY_PORT") and not values.get("DREAM_GATEWAY_TOKEN"):
        return ["DREAM_GATEWAY_PORT needs DREAM_GATEWAY_TOKEN, which programs send as their API key"]
    return []


def _defaults(values: Mapping[str, str], has_endpoints: bool) -> dict[str, str]:
    """The parts of defaults that depend on other variables."""
    project = str(project_home())
    home = readers.folder("DREAM_HOME", values.get("DREAM_HOME", f"{project}/.dream"))
    on_s3 = "S3_ENDPOINT_URL" in values
    buckets = "s3://" + values.get("DREAM_BUCKET_PREFIX", "")
    in_s3, here = {"root": buckets, "cache": f"{buckets}dream-cache"}, {"root": f"{home}/", "cache": f"{home}/cache"}
    places = in_s3 if on_s3 else here
    models = _OPENAI_MODELS if has_endpoints and values.get("DREAM_OFFLINE") != "1" else _OFFLINE_MODELS
    return {"project": project, "home": home, **places, **models}


def _unknown_variables(values: Mapping[str, str]) -> list[str]:
    unknown = [name for name in sorted(values) if name.startswith("DREAM_") and name not in KNOWN_VARIABLES]
    return [
        f"{name} is not a setting of DREAM{_nearest(name)}; valid: {', '.join(KNOWN_VARIABLES)}, "
        f"and DREAM_ENDPOINT_<NAME>_ with: {', '.join(ENDPOINT_FIELDS)}"
        for name in unknown
        if not ENDPOINT_VARIABLE.fullmatch(name)
    ]


def _nearest(name: str) -> str:
    from difflib import get_close_matches

    nearest = get_close_matches(name, KNOWN_VARIABLES, 1, 0.8)
    return f" (did you mean {nearest[0]}?)" if nearest else ""


def _key_pair_problems(values: Mapping[str, str]) -> list[str]:
    pair = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    given, missing = [name for name in pair if name in values], [name for name in pair if name not in values]
    if len(given) != 1:
        return []
    return [f"{given[0]} is set but {missing[0]} is not: set both, or neither to use boto3's credential chain"]
