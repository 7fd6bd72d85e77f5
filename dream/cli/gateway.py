"""`dream gateway`: the model gateway for other programs."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dream import defaults
from dream.cli.options import show_banner
from dream.settings import Settings

if TYPE_CHECKING:
    from dream.models.gateway_client import GatewayClient


def gateway(
    port: Annotated[
        int | None,
        typer.Option(
            metavar="PORT", help=f"0 for a free one [default: DREAM_GATEWAY_PORT, else {defaults.GATEWAY_PORT}]"
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="the address to listen on; 0.0.0.0 accepts connections from other machines [default: "
            "DREAM_GATEWAY_HOST, else 127.0.0.1]",
        ),
    ] = None,
) -> int:
    """Serve the model gateway over HTTP until Ctrl-C.

    For programs in any language that use OpenAI's API: their calls are cached, limited, counted and subject to the
    budget like DREAM's own. They send a token as their API key: the value of DREAM_GATEWAY_TOKEN, else a new one, which
    is written to a file.
    """
    from dream.models import gateway_client
    from dream.models.gateway_server import served

    settings = Settings.from_environment()
    show_banner(settings)
    token, place = token_of(settings.gateway_token, "DREAM_GATEWAY_TOKEN", Path(settings.home) / "gateway-token")
    judges = [settings.judge_llm, settings.judge_embed_model, settings.generator_llm]
    models = list(dict.fromkeys([*settings.llms, *settings.embed_models, *judges]))
    port = (settings.gateway_port or defaults.GATEWAY_PORT) if port is None else port
    with (
        gateway_client.opened(settings) as opened,
        served(opened, token, host=host or settings.gateway_host, port=port, models=models) as url,
    ):
        print(_how_to_use(url, place, models), flush=True)
        try:
            _until_interrupted()
        finally:
            for line in usage_lines(opened):
                print(line)
    return 0


def token_of(given: str | None, variable: str, path: Path) -> tuple[str, str]:
    """The token of a server, and the shell expression that reads it: a variable's value, else a new token in a file
    that only its owner can read."""
    from dream.models.gateway_server import new_token

    if given:
        return given, f"${variable}"
    path.parent.mkdir(parents=True, exist_ok=True)
    token = new_token()
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(token)
    return token, f'$(cat "{path}")'


def _how_to_use(url: str, token: str, models: Sequence[str]) -> str:
    return "\n".join(
        [
            f"gateway: {url}",
            f"  export OPENAI_BASE_URL={url}/v1    (or {url}/trial/NAME/v1, to count calls under a name)",
            f"  export OPENAI_API_KEY={token}",
            f"  models: {', '.join(models)}",
            f"  calls so far: {url}/usage (with the token); stop with Ctrl-C",
        ]
    )


def _until_interrupted() -> None:
    import threading

    threading.Event().wait()


def usage_lines(opened: "GatewayClient") -> list[str]:
    """A line for each model and label: calls, those from the cache, tokens and USD."""
    lines = []
    for row in opened.usage():
        usd = "USD unknown" if row.usd is None else f"USD {row.usd:.4f}"
        label = f" ({row.trial})" if row.trial else ""
        lines.append(
            f"  {row.model}@{row.endpoint}{label}: {row.calls:,} calls, {row.cached:,} from the cache, "
            f"{row.failed:,} failed, {row.tokens:,.0f} tokens, {usd}"
        )
    return lines
