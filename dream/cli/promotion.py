"""`dream export`, `promote`, `serve` and `check`: the winner of an experiment as a file, proposed, in use, checked."""

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

# How long questions that are being answered at SIGTERM may still take.
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
        str, typer.Option("--output", "-o", metavar="FILE", help="an existing winner file is replaced, and noted in it")
    ] = "winner.yaml",
    metric: Annotated[
        str | None, typer.Option(metavar="NAME", help="choose by this metric [default: as dream compare]")
    ] = None,
    margin: Annotated[
        float | None, typer.Option(metavar="LOSS", help="the largest acceptable loss [default: as dream compare]")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(metavar="MODULE:FUNCTION", help="where a RAG method of your own is, in an installed package"),
    ] = None,
) -> int:
    """Write the recommended trial as a file for review.

    It holds method, parameters, models, the index's key, scores with intervals and where the evidence is; never a key.
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
        str, typer.Option(metavar="ADDRESS", help="0.0.0.0 lets other machines in, with DREAM_SERVE_TOKEN set")
    ] = "127.0.0.1",
    build: Annotated[
        bool, typer.Option("--build", help="build the index from the documents where storage has none")
    ] = False,
    question_characters: Annotated[
        int, typer.Option(metavar="N", min=1, help="the longest question")
    ] = defaults.SERVE_QUESTION_CHARACTERS,
    at_once: Annotated[
        int, typer.Option(metavar="N", min=1, help="questions at the same time; further ones get status 429")
    ] = defaults.SERVE_AT_ONCE,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="the most time for an answer")
    ] = defaults.SERVE_TIMEOUT_SECONDS,
    traces: Annotated[
        float, typer.Option(metavar="SHARE", min=0, max=1, help="trace this share of the answers in MLflow")
    ] = 0.0,
    trace_texts: Annotated[
        bool, typer.Option("--trace-texts", help="keep questions, answers and passages in traces")
    ] = False,
) -> int:
    """Answer questions over HTTP with the winner.

    Programs send the token as their API key: that of DREAM_SERVE_TOKEN, else a new one in a file, for this machine
    alone. The model gateway caches, limits, budgets and counts its calls as in experiments.
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
            f"--host {host} lets other machines in: set DREAM_SERVE_TOKEN, at least 16 characters that nobody can guess"
        )
    token, place = token_of(settings.serve_token, "DREAM_SERVE_TOKEN", Path(settings.home) / "serve-token")
    limits = Limits(question_characters, at_once, timeout)
    with services.in_this_process(), gateway_client.opened(settings) as gateway, _ended_by_sigterm():
        server = AnswerServer(promotion.as_trial, gateway, limits, settings.secrets())
        log = TraceLog(promotion, settings, traces, trace_texts) if traces else None
        server.on_answer = log and log.note
        application = server.application(token)
        with served_in_thread(application, TITLE, host=host, port=port, stop_seconds=_GRACE_SECONDS) as url:
            print(_how_to_ask(url, place, promotion), flush=True)
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
    """SIGTERM: as Kubernetes ends a pod."""


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """The first SIGTERM raises `_Terminated` in this thread; further ones do nothing, as the end is under way."""

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

    A branch promote/EXPERIMENT that changes the winner file alone is pushed; another run updates it. DREAM_GIT_TOKEN is
    the password of HTTPS; with SSH, git uses its own key. A pull request is opened where DREAM_GIT_PULL_REQUESTS names
    the kind of host.
    """
    from dream.serving.git_promotion import propose
    from dream.serving.promotion import read_promotion

    settings = Settings.from_environment()
    to = repository or settings.git_repository
    if not to:
        raise ConfigurationError("no repository: give --repository URL, or set DREAM_GIT_REPOSITORY")
    proposed = propose(read_promotion(winner), settings, repository=to, base=base, path=path)
    if not proposed.commit:
        print(f"{path} of {proposed.base} is this winner already: nothing is proposed")
        return 0
    print(f"{proposed.branch}: {proposed.commit[:12]}, for {proposed.base} of {safe_uri(to)}")
    for line in proposed.said:
        print(f"  {line}")
    print(f"\nNext: review and merge {proposed.pull_request or 'the branch by a pull request'}")
    return 0


def check(
    winner: Winner,
    url: Annotated[str, typer.Option(metavar="URL", help="where it is served, such as http://dream-serve:8897")],
    questions: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="ask so many of the golden questions, spread over the documents"),
    ] = None,
    metric: Annotated[
        str | None, typer.Option(metavar="NAME", help="a metric of the experiment [default: that of the file]")
    ] = None,
    margin: Annotated[
        float | None, typer.Option(metavar="LOSS", help="an accepted loss (0 to 1) [default: that of the file]")
    ] = None,
    wait: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="how long to wait until the winner is served")
    ] = defaults.CHECK_WAIT_SECONDS,
    fresh: Annotated[
        bool,
        typer.Option("--fresh", help="ask the winner's models anew, at full price: notices a model that was changed"),
    ] = False,
) -> int:
    """Ask a served winner golden questions, and compare.

    Exits with 1 where it is shown to be worse than recorded.

    The answers are scored by the judge of the experiment, and compared question by question with the recorded scores of
    the winner, and of the trial that it replaced. An inconclusive result exits with 0. DREAM_SERVE_TOKEN is sent.
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
