"""The gateway as one actor of a Ray cluster, reached through Ray Client."""

import asyncio
from collections.abc import Iterator

import openai
import pytest
from model_servers import KEY, endpoint_settings

from dream.errors import ConfigurationError, ServiceError, explain
from dream.models import gateway_client
from dream.models.gateway_client import GatewayClient, RayGateway
from dream.models.model_check import check_models
from dream.models.pickers import llm_picker
from dream.runtime.event_loop import run_async
from dream.services import ACTOR_NAME


@pytest.fixture
def ray_gateway(on_ray, model_server, relay, no_environment) -> Iterator[GatewayClient]:
    with gateway_client.opened(endpoint_settings(model_server, relay)) as opened:
        assert isinstance(opened, RayGateway)
        yield opened


def test_clients_of_all_kinds_share_one_meter(ray_gateway, model_server):
    llm = llm_picker("llm-large", trial="t1")
    before = sum(row.calls for row in ray_gateway.usage("t1"))

    async def ask(text: str) -> str:
        return (await llm.acomplete(text)).text

    assert all([llm.complete("one").text, asyncio.run(ask("two")), asyncio.run(ask("three")), run_async(ask("four"))])
    assert model_server.chat_calls() == 4
    assert sum(row.calls for row in ray_gateway.usage("t1")) == before + 4


def test_errors_come_without_rays_page_of_text(ray_gateway):
    llm = llm_picker("any@nowhere")
    for ask in (lambda: llm.complete("hello"), lambda: asyncio.run(llm.acomplete("hello"))):
        with pytest.raises(openai.APIConnectionError) as caught:
            ask()
        assert type(caught.value.__cause__) is ConfigurationError
        assert explain(caught.value).startswith("ConfigurationError: no model endpoint 'nowhere' is configured")
    with pytest.raises(ConfigurationError, match=r"^no model endpoint 'nowhere'"):
        ray_gateway.base_url("nowhere")
    with pytest.raises(ServiceError) as checked:
        check_models(["any@nowhere", "no-such-model"], ["embed-small"])
    assert len(str(checked.value).splitlines()) == 3
    assert KEY not in str(checked.value)


def test_a_lost_gateway_is_a_lost_connection(ray_gateway):
    import ray

    llm = llm_picker("llm-large")
    ray.kill(ray.get_actor(ACTOR_NAME))
    with pytest.raises(openai.APIConnectionError) as caught:
        llm.complete("hello")
    assert "Actor" in explain(caught.value)
    with pytest.raises(Exception, match="ctor"):
        gateway_client.close_gateway()
    with pytest.raises(openai.APIConnectionError) as caught:
        llm.complete("hello")
    assert "OPENAI_API_KEY" in explain(caught.value)  # a new gateway, from an environment that has no endpoint
