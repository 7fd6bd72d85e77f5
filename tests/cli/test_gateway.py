"""`dream gateway` as a program: told how to use it, asked with the token, ended by Ctrl-C."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import openai
import pytest
from model_servers import ModelServer


@pytest.mark.parametrize("own_token", ["", pytest.param("a-token-of-our-own-51", marks=pytest.mark.whole)])
def test_a_program_gets_answers_with_the_token_and_the_calls_are_told_at_the_end(
    own_token: str, model_server: ModelServer, no_environment: None, tmp_path: Path
):
    environment = {
        **os.environ,
        "DREAM_HOME": str(tmp_path),
        "OPENAI_BASE_URL": model_server.base_url,
        "OPENAI_API_KEY": model_server.key,
        "DREAM_GATEWAY_TOKEN": own_token,
        "PYTHONUNBUFFERED": "1",
    }
    command = subprocess.Popen(
        [sys.executable, "-m", "dream.cli.main", "gateway", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert command.stdout is not None
    told = [command.stdout.readline() for _ in range(5)]
    url = told[0].removeprefix("gateway: ").strip()
    token = own_token or (tmp_path / "gateway-token").read_text()
    if not own_token:
        assert (tmp_path / "gateway-token").stat().st_mode & 0o077 == 0
        assert f'OPENAI_API_KEY=$(cat "{tmp_path}/gateway-token")' in told[2]
    with openai.OpenAI(base_url=f"{url}/trial/ours/v1", api_key=token) as client:
        messages = [{"role": "user", "content": "How high is the dam?"}]
        assert client.chat.completions.create(model="llm-small", messages=messages).choices
    command.send_signal(signal.SIGINT)
    out, err = command.communicate(timeout=60)
    assert command.returncode == 130, err
    assert "  llm-small@openai (ours): 1 calls, 0 from the cache, 0 failed, " in out
    assert err == "dream gateway: stopped; what was finished is in storage\n"
    assert not [secret for secret in (token, model_server.key) if secret in "".join(told) + out + err]
