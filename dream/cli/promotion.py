"""`dream export`, `promote`, `serve` and `check`: write the winner of an experiment to a file, propose it, serve it,
check it."""

import ipaddress
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from dream import defaults
from dream.cli.gateway import token_of, usage_lines
from dream.cli.options import show_banner
from dream.errors import ConfigurationError
from dream.settings import Settings, safe_uri
from dream.storage import local_files

if TYPE_CHECKING:
    from dream.serving.promotion import Promotion

# Seconds that questions in progress may still take after SIGTERM.
_GRACE_SECONDS = 30.0

Winner = Annotated[str, typer.Argument(metavar="WINNER", help="the file of `dream export`, such as winner.yaml")]


def export(
    experiment: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="the experiment's name [default: the one started last]")
    ] = None,
    trial: Annotated[
        str | None,
        typer.Option(metavar="TRIAL", help="another trial than the recommended one, by its id or name"),
    ] = None,
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="write to this file; an existing winner file is replaced, and the new file names it",
        ),
    ] = "winner.yaml",
    metric: Annotated[
        str | None, typer.Option(metavar="NAME", help="choose by this metric [default: as dream compare]")
    ] = None,
    margin: Annotated[
        float | None, typer.Option(metavar="LOSS", help="the largest acceptable loss [default: as dream compare]")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(metavar="MODULE:FUNCTION", help="the location of your own RAG method in an installed package"),
    ] = None,
) -> int:
    """Write the recommended trial as a file for review.

    The file has the method, its parameters, the models, the index, scores with intervals, and the location of the
    evidence. It never contains an API key.
    """
    from dream.experiments import latest_experiment, load_experiment
    from dream.rag.methods import imported_method
    from dream.serving.export import promotion_from
    from dream.serving.promotion import read_winner

    settings = Settings.from_environment()
    if not Path(output).parent.is_dir() or Path(output).is_dir():
        raise ConfigurationError(f"--output {output}: name a file in a folder that exists, such as winner.yaml")
    replaced = read_winner(Path(output))
    if method:
        imported_method(method)
    result = load_experiment(experiment or latest_experiment(settings), settings)
    promotion = promotion_from(
        result, settings, trial=trial, metric=metric, margin=margin, method=method, replaces=replaced
    )
    local_files.write(Path(output), [promotion.to_yaml().encode()])
    print(f"{output}: {promotion.as_trial.name} of {result.name}")
    for name, scored in promotion.scores.items():
        if scored.mean is not None:
            print(f"  {name}: {scored.mean:.3f} [{scored.low:.3f}, {scored.high:.3f}] on {scored.questions} questions")
    if promotion.replaces:
        print(f"  in place of trial {promotion.replaces.trial} of {promotion.replaces.experiment}")
    print(f"\nNext: commit it for review; dream serve {output}")
    return 0


def serve(
    winner: Winner,
    port: Annotated[int, typer.Option(metavar="PORT", min=0, help="0 for a free one")] = defaults.SERVE_PORT,
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS", help="0.0.0.0 accepts connections from other machines; needs DREAM_SERVE_TOKEN"
        ),
    ] = "127.0.0.1",
    build: Annotated[
        bool, typer.Option("--build", help="build the index from the documents if it is not in storage")
    ] = False,
    question_characters: Annotated[
        int, typer.Option(metavar="N", min=1, help="the longest question")
    ] = defaults.SERVE_QUESTION_CHARACTERS,
    at_once: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, help="the maximum number of concurrent questions; further ones get status 429"
        ),
    ] = defaults.SERVE_AT_ONCE,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="the maximum time for an answer")
    ] = defaults.SERVE_TIMEOUT_SECONDS,
    traces: Annotated[
        float, typer.Option(metavar="SHARE", min=0, max=1, help="trace this share of the answers in MLflow")
    ] = 0.0,
    trace_texts: Annotated[
        bool, typer.Option("--trace-texts", help="keep questions, answers and passages in traces")
    ] = False,
) -> int:
    """Answer questions over HTTP with the winner.

    Programs send a token as their API key: the value of DREAM_SERVE_TOKEN, else a new one, which is written to a file
    and valid on this machine only. Model calls are cached, limited, budgeted and counted as in experiments.
    """
    from dream import services
    from dream.models import gateway_client
    from dream.models.http_serving import served_in_thread
    from dream.serving.answer_traces import TraceLog
    from dream.serving.engine import differing_models, differing_versions, opened_engine
    from dream.serving.promotion import read_promotion
    from dream.serving.server import TITLE, AnswerServer, Limits

    settings = Settings.from_environment()
    show_banner(settings)
    promotion = read_promotion(winner)
    if not settings.serve_token and not _is_loopback(host):
        raise ConfigurationError(
            f"--host {host} accepts connections from other machines: set DREAM_SERVE_TOKEN to at least 16 characters "
            f"that nobody can guess"
        )
    token, token_source = token_of(settings.serve_token, "DREAM_SERVE_TOKEN", Path(settings.home) / "serve-token")
    limits = Limits(question_characters, at_once, timeout)
    with services.in_this_process(), gateway_client.opened(settings) as gateway, _ended_by_sigterm():
        server = AnswerServer(promotion.as_trial, gateway, limits, settings.secrets())
        log = TraceLog(promotion, settings, traces, trace_texts) if traces else None
        server.on_answer = log and log.note
        application = server.application(token)
        with served_in_thread(application, TITLE, host=host, port=port, stop_seconds=_GRACE_SECONDS) as url:
            print(_how_to_ask(url, token_source, promotion), flush=True)
            try:
                server.engine = opened_engine(promotion, settings, build=build, show=print)
                for difference in [*differing_versions(promotion), *differing_models(promotion)]:
                    print(f"  differs from the experiment: {difference}", flush=True)
                print("  ready", flush=True)
                _until_interrupted()
            except _Terminated:
                server.drain()
        if log is not None:
            log.close()
            print(f"  traces in MLflow: {log.logged}, dropped: {log.dropped}")
        for line in usage_lines(gateway):
            print(line)
    return 0


class _Terminated(BaseException):
    """SIGTERM was received, with which Kubernetes ends a pod."""


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """The first SIGTERM raises `_Terminated` in this thread; further ones are ignored."""

    def end(signum: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise _Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _until_interrupted() -> None:
    import threading

    threading.Event().wait()


def _is_loopback(host: str) -> bool:
    """True for an address that no other machine reaches."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _how_to_ask(url: str, token: str, promotion: "Promotion") -> str:
    return "\n".join(
        [
            f"serve: {url}",
            f"  {promotion.as_trial.name}, trial {promotion.trial} of {promotion.evidence.experiment}",
            f'  curl {url}/answer -H "Authorization: Bearer {token}" --json \'{{"question": "..."}}\'',
            f"  OpenAI's clients: base URL {url}/v1, model dream, API key {token}",
        ]
    )


def promote(
    winner: Winner,
    repository: Annotated[
        str | None, typer.Option(metavar="URL", help="the Git repository [default: that of DREAM_GIT_REPOSITORY]")
    ] = None,
    base: Annotated[
        str, typer.Option(metavar="BRANCH", help="merge into this branch [default: the repository's own]")
    ] = "",
    path: Annotated[str, typer.Option(metavar="PATH", help="the winner file in the repository")] = defaults.WINNER_PATH,
) -> int:
    """Propose a winner to a Git repository.

    Pushes a branch promote/EXPERIMENT that changes only the winner file; another run updates the branch. Over HTTPS,
    DREAM_GIT_TOKEN is the password; over SSH, git uses its own key. If DREAM_GIT_PULL_REQUESTS names the kind of Git
    host, a pull request is opened.
    """
    from dream.serving.git_promotion import propose
    from dream.serving.promotion import read_promotion

    settings = Settings.from_environment()
    to = repository or settings.git_repository
    if not to:
        raise ConfigurationError("no repository: give --repository URL, or set DREAM_GIT_REPOSITORY")
    proposed = propose(read_promotion(winner), settings, repository=to, base=base, path=path)
    if not proposed.commit:
        print(f"{path} of {proposed.base} already contains this winner: nothing to propose")
        return 0
    print(f"{proposed.branch}: {proposed.commit[:12]}, for {proposed.base} of {safe_uri(to)}")
    for line in proposed.said:
        print(f"  {line}")
    print(f"\nNext: review and merge {proposed.pull_request or 'the branch by a pull request'}")
    return 0


def check(
    winner: Winner,
    url: Annotated[str, typer.Option(metavar="URL", help="the URL of the server, such as http://dream-serve:8897")],
    questions: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="the number of golden questions to ask, spread over the documents"),
    ] = None,
    metric: Annotated[
        str | None, typer.Option(metavar="NAME", help="a metric of the experiment [default: that of the file]")
    ] = None,
    margin: Annotated[
        float | None, typer.Option(metavar="LOSS", help="the accepted loss (0 to 1) [default: that of the file]")
    ] = None,
    wait: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="seconds to wait for the server to serve this winner")
    ] = defaults.CHECK_WAIT_SECONDS,
    fresh: Annotated[
        bool,
        typer.Option("--fresh", help="bypass the cache, at full price, to notice a changed model"),
    ] = False,
) -> int:
    """Ask a served winner golden questions, and compare.

    The experiment's judge scores the answers. They are compared question by question with the recorded scores of the
    winner and of the trial that it replaced. The exit code is 1 if the served winner is significantly worse than
    recorded, and 0 for an inconclusive result. DREAM_SERVE_TOKEN is sent to the server.
    """
    from dream.serving.check import check_served
    from dream.serving.promotion import read_promotion

    settings = Settings.from_environment()
    show_banner(settings)
    checked = check_served(
        read_promotion(winner), url, settings, questions=questions, metric=metric, margin=margin, wait_seconds=wait,
        fresh=fresh,
    )  # fmt: skip
    print(checked.text)
    return 1 if checked.has_regressed else 0
