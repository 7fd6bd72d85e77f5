"""One's own RAG system as a trial: a function, or a service behind the gateway."""

import pickle
import socket

import openai
import pytest
from model_servers import Reply, endpoint_settings, free_port
from town import FACTS, GOLDEN, evaluate

from dream.errors import ConfigurationError, ServiceError
from dream.experiments.run import run_experiment
from dream.models.usage import CHECK_STAGE
from dream.rag.methods import RAG_METHODS, http_system, own_system, query_engine_picker
from dream.rag.own_systems import check_services
from dream.rag.search_space import SearchSpace
from dream.rag.travelling import TravellingMethods
from dream.records import FailureKind, GoldenDataset
from dream.settings import Settings
from dream.storage import open_storage

TOKEN = "a-token-of-the-tests-93ab"


def answers(name, questions=GOLDEN[:2], trial="t1"):
    engine = query_engine_picker(name, None, None, trial=trial)  # pyright: ignore[reportArgumentType]
    return evaluate(engine, questions, metrics=["answer_similarity"]).answers


@pytest.mark.parametrize("is_async", [False, True])
def test_a_function_answers_with_texts_or_with_places(is_async, gateway):
    def known(question):
        fact = FACTS[question]
        return fact, [fact, {"text": "More.", "file": "town.pdf", "page": 3, "score": 0.5}]

    if is_async:

        @own_system
        async def our_rag(question):
            return known(question)
    else:

        @own_system(incumbent=True)
        def our_rag(question):
            return known(question)

    (first, second) = answers("our_rag")
    assert (first.text, second.text) == tuple(FACTS[question.question] for question in GOLDEN[:2])
    assert [passage.location for passage in first.contexts] == ["", "town.pdf#page=3"]
    assert first.contexts[1].score == 0.5
    (trial,) = SearchSpace(["our_rag"], ["a", "b"], ["c"]).trials()
    assert trial.name == "our_rag"
    assert dict(trial.parameters) == ({} if is_async else {"incumbent": True})


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("only a text", "must return an answer and a list of contexts"),
        ((None, []), "must return an answer and a list of contexts"),
        (("text", [7]), "a context of our_rag must be a text, or a mapping with text; it is 7"),
        (("text", [{"page": 1}]), "a context of our_rag must be a text"),
        (("text", []), "nothing was retrieved"),
    ],
)
def test_what_is_no_answer_is_a_failure_of_the_question(given, reason, gateway):
    @own_system
    def our_rag(question):
        return given

    (answer,) = answers("our_rag", GOLDEN[:1])
    assert answer.text is None
    assert reason in (answer.error or "")


def test_it_travels():
    @own_system(incumbent=True)
    def our_rag(question):
        return question.upper(), ["a"]

    trials = SearchSpace(["our_rag"], ["a"], ["b"]).trials()
    method = pickle.loads(pickle.dumps(TravellingMethods.of(trials)))["our_rag"]
    assert str(method.function(None, None, incumbent=True).query("abc")) == "ABC"
    our_service()
    (service,) = pickle.loads(
        pickle.dumps(TravellingMethods.of(SearchSpace(["our_rag"], ["a"], ["b"]).trials()))
    ).values()
    assert service.function.__wrapped__.path == "/ask"
    assert method.problems({"incumbent": "yes"}) == ["our_rag: incumbent='yes' must be true or false"]


def service(seen) -> Reply | None:
    if seen.path != "/v1/ask":
        return None
    question = seen.body["inputs"][0]["q"]
    return Reply(200, {"result": {"text": FACTS[question]}, "sources": [{"text": FACTS[question]}, {"text": "More."}]})


def our_service(**options):
    where = {"answer": "result.text", "contexts": "sources.text", **options}
    return http_system(
        "our_rag",
        endpoint="relay",
        path="/ask",
        request={"inputs": [{"q": "{question}"}], "k": 3, "of": "run {trial}"},
        **where,
    )


def test_a_service_is_asked_through_the_gateway(gateway, relay, model_server):
    relay.script = service
    assert our_service(incumbent=True) == "our_rag"
    (first, _) = answers("our_rag")
    assert first.text == FACTS[GOLDEN[0].question]
    assert [passage.text for passage in first.contexts] == [first.text, "More."]
    asked = [seen for seen in relay.requests if seen.path == "/v1/ask"]
    assert asked[0].body["k"] == 3
    assert asked[0].body["of"] == "run t1"
    assert asked[0].headers["authorization"] == f"Bearer {model_server.key}"
    (row,) = [row for row in gateway.usage("t1") if row.stage == "answer"]
    assert (row.endpoint, row.calls, row.sent, row.cached) == ("relay", 2, 2, 0)


def test_a_reply_without_the_fields_and_an_error_are_told(gateway, relay):
    relay.script = service
    our_service(contexts="documents.text")
    (answer,) = answers("our_rag", GOLDEN[:1])
    assert "the reply of our_rag lacks contexts at 'documents.text': {\"result\"" in (answer.error or "")
    relay.script = lambda seen: Reply(400, {"error": "no such collection"}) if "ask" in seen.path else None
    (answer,) = answers("our_rag", GOLDEN[:1])
    assert "no such collection" in (answer.error or "") and answer.failure
    assert answer.failure.kind != FailureKind.NOTHING_RETRIEVED


@pytest.mark.parametrize(
    ("reply", "options", "problem"),
    [
        (Reply(401, {"detail": "who are you?"}), {}, "who are you.*; check DREAM_ENDPOINT_RELAY_API_KEY"),
        (
            Reply(404, "<h1>not here</h1>"),
            {},
            "our_rag at path '/ask' of the endpoint 'relay': .*; check `path`, and DREAM_E",
        ),
        (Reply(422, {"detail": "inputs missing"}), {}, "inputs missing.*; check `request`"),
        (None, {"answer": "result.reply"}, "the reply of our_rag lacks answer at 'result.reply': "),
        (None, {"contexts": "result"}, "a list of contexts"),
    ],
)
def test_a_service_that_cannot_be_used_is_told_before_anything_is_paid(reply, options, problem, gateway, relay):
    relay.script = lambda seen: reply or service(seen)
    our_service(**options)
    with pytest.raises(ServiceError, match=rf"1 of your services cannot be used:\s+- .*{problem}"):
        check_services({"t1": RAG_METHODS["our_rag"]}, GOLDEN[0].question)
    assert {row.stage for row in gateway.usage()} == {CHECK_STAGE}  # which no budget counts


def test_a_service_that_answers_passes_and_functions_are_not_asked(gateway, relay):
    relay.script = service

    @own_system
    def silent(question):
        raise NotImplementedError

    our_service()
    methods = {"t1": RAG_METHODS["our_rag"], "t2": RAG_METHODS["silent"], "t3": None}
    check_services(methods, GOLDEN[0].question)
    (asked,) = relay.requests
    assert asked.body["of"] == "run t1"  # by which calls to the experiment's gateway are counted


def test_a_service_needs_an_endpoint_and_no_models(model_server, relay, no_environment):
    settings = endpoint_settings(model_server, relay)
    our_service()
    assert SearchSpace(["our_rag"], ["a@nowhere"], ["b@nowhere"]).problems(settings) == []
    assert "'b@nowhere'" not in str(SearchSpace(["bm25"], ["llm-small@relay"], ["b@nowhere"]).problems(settings))
    http_system("their_rag", endpoint="theirs")
    (problem,) = SearchSpace(["their_rag"], ["a"], ["b"]).problems(settings)
    assert problem == (
        "the service 'their_rag' has no endpoint 'theirs': set DREAM_ENDPOINT_THEIRS_BASE_URL to its address"
    )


def test_mistakes_are_told_when_it_is_registered():
    with pytest.raises(ConfigurationError, match=r"lacks the placeholder .\{question\}."):
        http_system("our_rag", endpoint="relay", request={"q": "?"})
    with pytest.raises(ConfigurationError, match="use letters, digits and _"):
        http_system("our rag", endpoint="relay")


@pytest.mark.whole
def test_it_stands_beside_the_methods_in_an_experiment(model_server, relay, no_environment, home_with_mlflow, tmp_path):
    relay.script = service
    our_service(incumbent=True)
    settings = endpoint_settings(
        model_server, relay, DREAM_HOME=str(tmp_path), DREAM_JUDGE_LLM="judge", DREAM_JUDGE_EMBED_MODEL="embed-large"
    )
    storage = open_storage(settings.documents_uri, settings)
    storage.ensure()
    storage.write_bytes("town.txt", " ".join(FACTS.values()).encode())
    outcome = run_experiment(
        SearchSpace(["our_rag", "bm25"], ["llm-large", "llm-small"], ["embed-small"]),
        golden_dataset=GoldenDataset(tuple(GOLDEN)),
        metrics=["answer_correctness"],
        baselines=True,
        settings=settings,
        engine="in_process",
        show=None,
    )
    assert [result.trial.name for result in outcome.results] == ["our_rag", "bm25 + llm-large", "bm25 + llm-small"]
    assert [result.failure for result in outcome.results] == [None] * 3
    ours = outcome.results[0].evaluation
    assert ours is not None and ours.summaries()[0].mean == 1.0
    assert {row.stage for row in outcome.results[0].usage} == {"answer", "judge"}
    assert {trial.llm_identifier for trial in outcome.manifest.baselines} == {"llm-large", "llm-small"}


@pytest.mark.whole
def test_its_calls_to_the_experiments_gateway_are_counted_for_its_trial_and_limited_by_the_budget(
    model_server, relay, no_environment, home_with_mlflow, tmp_path
):
    port = free_port()
    settings = endpoint_settings(
        model_server, relay, DREAM_HOME=str(tmp_path), DREAM_JUDGE_LLM="judge", DREAM_JUDGE_EMBED_MODEL="embed-large",
        DREAM_GATEWAY_TOKEN=TOKEN, DREAM_GATEWAY_PORT=str(port),
    )  # fmt: skip
    storage = open_storage(settings.documents_uri, settings)
    storage.ensure()
    storage.write_bytes("town.txt", " ".join(FACTS.values()).encode())

    @own_system(incumbent=True)
    def our_rag(question, trial):
        with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/trial/{trial}/v1", api_key=TOKEN) as client:
            prompt = f"Context: {FACTS[question]}\nQuery: {question}\nAnswer:"
            messages = [{"role": "user", "content": prompt}]
            reply = client.chat.completions.create(model="llm-large", messages=messages)  # pyright: ignore
        return reply.choices[0].message.content, [FACTS[question]]

    lines: list[str] = []
    outcome = run_experiment(
        SearchSpace(["our_rag"], ["llm-large"], ["embed-small"]), golden_dataset=GoldenDataset(tuple(GOLDEN)),
        metrics=["exact_match"], settings=settings, engine="in_process", show=lines.append,
    )  # fmt: skip
    (ours,) = outcome.results
    assert ours.failure is None
    assert [(row.stage, row.model, row.calls) for row in ours.usage] == [("answer", "llm-large", len(GOLDEN))]
    assert any(f"http://127.0.0.1:{port}/trial/" in line for line in lines)
    assert not any(TOKEN in line for line in lines)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 2)


def test_a_port_without_a_token_is_refused():
    with pytest.raises(ConfigurationError, match="DREAM_GATEWAY_PORT needs DREAM_GATEWAY_TOKEN"):
        Settings.from_environment({"DREAM_GATEWAY_PORT": "8898"})
