"""Indexes on a real cluster, reached through Ray Client: built once for all, whatever is killed meanwhile."""

import os
import pickle
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy
import pytest
from lab import Lab
from model_servers import Reply, endpoint_settings, pages
from ray_cluster import RayCluster, wait_for

from dream.documents import load_documents
from dream.errors import ServiceError
from dream.experiments.run import run_experiment
from dream.indexes import builder, client as index_client
from dream.indexes.chunkers import build_index, chunk
from dream.indexes.client import IndexRequest, RayIndexes, get_index
from dream.models import gateway_client
from dream.models.pickers import EMBED_BATCH_SIZE, embed_model_picker
from dream.rag.search_space import SearchSpace
from dream.records import GoldenDataset
from dream.storage import open_storage

pytestmark = pytest.mark.usefixtures("on_ray")

CHUNKING = ("overlapping_chunks", {"chunk_size": 64, "chunk_overlap": 8})
MODEL = "embed-small@relay"


@pytest.fixture
def documents():
    text = " ".join(f"Buoy {number} lies {number * 3} miles off the coast of Kell." for number in range(400))
    return [*pages("a.txt", text[:9000], text[9000:]), *pages("b.txt", text[200:9000])]


@pytest.fixture
def settings(model_server, relay, no_environment, tmp_path):
    return endpoint_settings(model_server, relay, DREAM_HOME=str(tmp_path))


@pytest.fixture
def lines():
    return []


@pytest.fixture
def access(settings, lines):
    with gateway_client.opened(settings), index_client.opened(settings, lines.append) as opened:
        assert isinstance(opened, RayIndexes)
        yield opened


def distinct(vectors):
    """Different vectors: a text that stands twice in the documents is embedded once."""
    return len({row.tobytes() for row in vectors})


def embedded_texts(relay):
    return [text for seen in relay.requests for text in seen.body["input"]]


def ask_in_a_task(documents, trial: str):
    """What a trial does: in a worker's process; gives back whether the vectors are shared memory, and the vectors."""
    import ray

    def work():
        index = get_index(documents, *CHUNKING, MODEL, trial=trial)
        found = index.as_retriever(similarity_top_k=3).retrieve("Where is buoy 7?")
        return (
            index.vector_store.client.flags.owndata,
            index.vector_store.client,
            [hit.node.get_content() for hit in found],
        )

    return ray.remote(work).options(num_cpus=0).remote()


def test_trials_of_all_workers_share_one_index(access, documents, relay, lines):
    import ray

    asked = ray.get([ask_in_a_task(documents, f"t{number}") for number in range(2)])  # each in a process
    texts = [seen for seen in embedded_texts(relay) if seen != "Where is buoy 7?"]
    assert len(texts) == distinct(asked[0][1])
    for owned, vectors, found in asked:
        assert not owned
        assert numpy.array_equal(vectors, asked[0][1])
        assert len(found) == 3 and found == asked[0][2]
    plain = build_index(documents, *CHUNKING, embed_model_picker(MODEL))
    assert numpy.allclose(plain.vector_store.client, asked[0][1])
    wait_for(lambda: any("texts, built in " in line for line in lines))
    usage = gateway_client.current_gateway().usage()
    assert {("embed", ""), ("query", "t0"), ("query", "t1")} <= {(row.stage, row.trial) for row in usage}


def test_a_later_experiment_loads_it(settings, documents, relay, lines):
    for _ in range(2):
        with gateway_client.opened(settings), index_client.opened(settings, lines.append):
            index = get_index(documents, *CHUNKING, MODEL)
    assert len(embedded_texts(relay)) == distinct(index.vector_store.client)
    assert lines[-1].endswith("texts, loaded from storage")


def test_texts_in_the_drivers_folder_are_read_by_the_builder_and_chunked_by_workers(access, settings, relay):
    """The index is large enough for tasks; what a trial carries is not."""
    import ray

    folder = open_storage(settings.documents_uri, settings)
    folder.ensure()
    for name, first in {"a.txt": 0, "b.txt": 6000}.items():
        lines = (
            f"Buoy {number} lies {number * 3} miles off the coast of Kell." for number in range(first, first + 6000)
        )
        folder.write_text(name, " ".join(lines))
    stored = load_documents(folder, settings=settings).documents
    assert stored.characters > builder.FEW_DOCUMENTS_BYTES
    assert len(pickle.dumps(stored)) < 3000
    vectors, found = ray.get(ask_in_a_task(stored, "t1"))[1:]
    assert len(vectors) == len(chunk(list(stored), *CHUNKING))
    assert distinct(vectors) == len({*embedded_texts(relay)} - {"Where is buoy 7?"})
    assert len(found) == 3


@pytest.fixture
def many_documents():
    """So many that their index is built in tasks, and not by the builder itself."""
    lines = [f"Buoy {number} lies {number * 3} miles off the coast of Kell." for number in range(11_000)]
    documents = pages("a.txt", *(" ".join(lines[start : start + 100]) for start in range(0, len(lines), 100)))
    assert len(pickle.dumps(documents)) > builder.FEW_DOCUMENTS_BYTES
    return documents


def test_a_step_whose_process_is_killed_runs_again(access, many_documents, relay, model_server, ray_cluster, lines):
    victim, documents = "ray::dream-index-embed_step", many_documents
    model_server.faults(embedding_latency_ms=3000)
    killed = []

    def kill():
        wait_for(lambda: relay.requests and ray_cluster.head.pids(victim), 60)
        for pid in ray_cluster.head.pids(victim):
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
        model_server.faults(embedding_latency_ms=0)

    killer = threading.Thread(target=kill)
    killer.start()
    index = get_index(documents, *CHUNKING, MODEL)
    killer.join(30)
    assert killed
    plain = build_index(documents, *CHUNKING, embed_model_picker(MODEL))
    assert numpy.allclose(index.vector_store.client, plain.vector_store.client)
    wait_for(lambda: any("built in" in line for line in lines))


@pytest.mark.parametrize("which", ["documents", "many_documents"])
def test_an_index_that_nobody_needs_any_more_asks_for_no_further_vectors(
    which, settings, relay, model_server, request, ray_cluster
):
    """The builder's process lives on when an experiment is stopped; its threads, and tasks on workers, end."""
    documents = request.getfixturevalue(which)
    with gateway_client.opened(settings):
        with index_client.opened(settings) as opened:
            model_server.faults(embedding_latency_ms=1000)
            opened.start(documents, [IndexRequest(*CHUNKING, MODEL)])
            wait_for(lambda: relay.requests, 60)
        wait_for(lambda: not ray_cluster.head.pids("ray::dream-index-embed_step"))
        time.sleep(1.5)  # what was under way
        asked = len(relay.requests)
        time.sleep(1.5)
        assert len(relay.requests) == asked
        model_server.faults(embedding_latency_ms=0)
        with index_client.opened(settings):
            assert len(get_index(documents, *CHUNKING, MODEL).vector_store.client) > 100


def test_a_failure_is_one_clear_error_for_all_who_wait_and_is_not_remembered(access, documents, relay):
    relay.first(*[Reply(400, {"error": {"message": "the input was refused"}})] * 500)
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(get_index, documents, *CHUNKING, MODEL) for _ in range(3)]
    for failure in [future.exception() for future in asked]:
        assert type(failure) is ServiceError
        assert str(failure).startswith(f"the embedding model {MODEL} failed: ")
        assert "the input was refused" in str(failure)
        assert "Traceback" not in str(failure) and "ray" not in str(failure)
    relay.reset()
    index = None
    for _ in range(5):  # a refused request that is still under way is joined once more
        with suppress(ServiceError):
            index = index or get_index(documents, *CHUNKING, MODEL)
    assert index is not None
    assert distinct(index.vector_store.client) == len(embedded_texts(relay))


def test_data_lost_with_a_machine_are_loaded_again(access, documents, relay, monkeypatch):
    import ray
    from ray.exceptions import ObjectLostError

    index = get_index(documents, *CHUNKING, MODEL)
    asked = len(relay.requests)
    real, lost = ray.get, []

    def get(reference, **options):
        found = real(reference, **options)
        if isinstance(found, builder.IndexData) and not lost:
            lost.append(reference)
            raise ObjectLostError(reference.hex(), None, "")
        return found

    monkeypatch.setattr(ray, "get", get)
    again = get_index(documents, *CHUNKING, MODEL)
    assert lost
    assert numpy.array_equal(again.vector_store.client, index.vector_store.client)
    assert len(relay.requests) == asked


def test_a_folder_that_the_cluster_does_not_see_is_said(settings, documents, lines, monkeypatch, tmp_path):
    """As on a cluster of other machines: the file that marks the folder is not there."""
    from dream.storage import LocalStorage

    monkeypatch.setattr(LocalStorage, "write_bytes", lambda *_: None)
    with gateway_client.opened(settings), index_client.opened(settings, lines.append):
        assert len(get_index(documents, *CHUNKING, MODEL).vector_store.client) > 100
    assert any("indexes are not stored" in line and "DREAM_CACHE_URI" in line for line in lines)


def test_a_grid_builds_each_distinct_index_once(ray_lab: Lab, golden_on_ray: GoldenDataset, ray_cluster: RayCluster):
    """Three trials, two indexes; a second experiment of the same asks no model for anything, not even a word."""
    methods, llms = ["chunks_with_overlap", "sentence_window"], ["llm-small@x", "llm-large@x"]
    left_out = {"query_engine_identifier": methods[1], "llm_identifier": llms[1]}
    space = SearchSpace(methods, llms, ["embed-small@x"], exclude=[left_out])
    golden = GoldenDataset(golden_on_ray.questions[:1], golden_on_ray.uri)
    lines: list[str] = []
    lab_settings = ray_lab.changed(DREAM_CACHE_URI=str(ray_lab.home / "grid-cache"))

    def run(name: str) -> int:
        ray_lab.models.reset()
        outcome = run_experiment(
            space, name=name, golden_dataset=golden, settings=lab_settings, metrics=["faithfulness"], show=lines.append
        )
        assert [result.error for result in outcome.results] == [None] * 3
        return ray_lab.models.counters()["texts_embedded"]

    texts = run("grid")
    built = [line for line in lines if "built in" in line]
    assert sorted(line.split(":")[0] for line in built) == ["  index 1 of 2", "  index 2 of 2"]
    sizes = [int(line.split(": ")[1].split(" ")[0].replace(",", "")) for line in built]
    checked = 2 * (EMBED_BATCH_SIZE + 2)  # a full batch, one of its texts alone, and a long one, for each of two models
    assert sum(sizes) <= texts <= sum(sizes) + 3 + checked
    assert run("grid-again") == 0
    assert ray_lab.models.counters()["by_status"] == {}
