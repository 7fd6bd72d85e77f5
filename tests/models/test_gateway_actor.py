"""Many requests in few Ray calls, each with its own answer; nobody waits for a gateway that is gone."""

import asyncio
from typing import Any

import pytest
from model_servers import chat_reply, endpoint_settings

from dream.errors import ConfigurationError
from dream.models import gateway_client
from dream.models.gateway import Gateway, GatewayOptions
from dream.models.gateway_actor import BatchGateway, Sender
from dream.models.gateway_client import GatewayClient
from dream.models.gateway_metrics import Progress
from dream.models.openai_wire import ModelRequest, ModelResponse, parsed
from dream.models.ray_metrics import RayMetrics


class Calls:
    """Calls of a gateway's methods in this process, which are counted."""

    def __init__(self, gateway: BatchGateway) -> None:
        self._gateway = gateway
        self.calls: list[str] = []
        self.dead = False

    def __call__(self, method, *arguments):
        self.calls.append(method.__name__)
        if self.dead:
            raise RuntimeError("The actor died")
        return asyncio.ensure_future(method(self._gateway, *arguments))


def request(number: int, endpoint: str = "relay") -> ModelRequest:
    body = f'{{"model": "m", "messages": [{{"role": "user", "content": "{number}"}}]}}'
    return ModelRequest(endpoint, "POST", "/chat/completions", body.encode())


@pytest.fixture
def gateway(no_environment, model_server, relay) -> BatchGateway:
    relay.script = lambda seen: chat_reply(f"answer to {seen.body['messages'][0]['content']}")
    made = BatchGateway()
    made.configure(GatewayOptions(endpoint_settings(model_server, relay).endpoints))
    return made


def text_of(response: ModelResponse) -> str:
    return (parsed(response.body) or {})["choices"][0]["message"]["content"]


def test_each_gets_its_own_answer_and_few_calls_carry_them_all(gateway):
    calls = Calls(gateway)

    async def ask() -> list[Any]:
        sender = Sender(calls)
        asked = [sender.send(request(number)) for number in range(100)]
        outcomes = await asyncio.gather(*asked, sender.send(request(0, "nowhere")), return_exceptions=True)
        await gateway.close()
        return outcomes

    *answers, refused = asyncio.run(ask())
    assert [text_of(response) for response in answers] == [f"answer to {number}" for number in range(100)]
    assert isinstance(refused, ConfigurationError)
    assert calls.calls.count("take") == 1
    assert calls.calls.count("outcomes") < 60


def test_senders_do_not_get_each_others_answers(gateway):
    calls = Calls(gateway)

    async def ask() -> list[ModelResponse]:
        senders = [Sender(calls), Sender(calls)]
        responses = await asyncio.gather(*(senders[number % 2].send(request(number)) for number in range(20)))
        await gateway.close()
        return responses

    assert [text_of(response) for response in asyncio.run(ask())] == [f"answer to {number}" for number in range(20)]


def test_a_request_that_is_given_up_disturbs_no_other(gateway, relay):
    calls = Calls(gateway)

    async def ask() -> str:
        sender = Sender(calls)
        given_up = asyncio.create_task(sender.send(request(1)))
        other = asyncio.create_task(sender.send(request(2)))
        await asyncio.sleep(0)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        others_answer = text_of(await other)
        again = text_of(await sender.send(request(1)))  # paid by the one who gave up
        await gateway.close()
        return f"{others_answer}, {again}"

    assert asyncio.run(ask()) == "answer to 2, answer to 1"
    assert sum(seen.body["messages"][0]["content"] == "1" for seen in relay.requests) == 1


def test_all_who_wait_learn_that_the_actor_is_gone(gateway):
    calls = Calls(gateway)
    calls.dead = True

    async def ask() -> list[Any]:
        sender = Sender(calls)
        return await asyncio.gather(*(sender.send(request(number)) for number in range(3)), return_exceptions=True)

    assert [str(error) for error in asyncio.run(ask())] == ["The actor died"] * 3


def test_the_gateway_on_ray_sends_batches_from_every_loop(on_ray, no_environment, model_server, relay):
    relay.script = lambda seen: chat_reply(f"answer to {seen.body['messages'][0]['content']}")

    async def ask(gateway: GatewayClient, numbers: range) -> list[str]:
        return [text_of(response) for response in await asyncio.gather(*(gateway.send(request(n)) for n in numbers))]

    with gateway_client.opened(endpoint_settings(model_server, relay)) as gateway:
        for numbers in (range(30), range(30, 60)):
            assert asyncio.run(ask(gateway, numbers)) == [f"answer to {number}" for number in numbers]


class Published(RayMetrics):
    """Takes down what would be handed to Ray."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[dict[str, float]] = []

    def start(self, collect):
        """Nothing in between."""

    def publish(self, metrics):
        self.seen.append({sample.name: sample.value for metric in metrics for sample in metric.samples})


def test_what_was_counted_last_is_published_at_the_end_and_before_all_is_counted_anew(
    no_environment, model_server, relay
):
    relay.script = lambda seen: chat_reply("yes")
    published = Published()
    gateway = BatchGateway(_publisher=published)
    options = GatewayOptions(endpoint_settings(model_server, relay).endpoints)

    async def run() -> None:
        # as services call methods: those of the class that clients name
        Gateway.configure(gateway, options)
        await Gateway.send(gateway, request(1))
        Gateway.note_progress(gateway, Progress("first", 4, 3, 2, 1))
        Gateway.configure(gateway, options)
        await Gateway.close(gateway)

    asyncio.run(run())
    _nothing, first, closed = published.seen
    assert first["dream_model_calls_total"] == 1
    assert first["dream_experiment_running"] == 0
    assert "dream_model_calls_total" not in closed
