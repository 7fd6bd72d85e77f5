"""Methods of notebooks, scripts and modules go to other processes; what cannot go is refused with the remedy."""

import pickle
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from model_servers import endpoint_settings

from dream.engines.in_process import InProcessEngine
from dream.errors import ConfigurationError
from dream.experiments.run import run_experiment
from dream.rag.methods import RAG_METHODS, rag_method
from dream.rag.search_space import SearchSpace
from dream.rag.travelling import KIND, TravellingMethods
from dream.records import GoldenDataset, GoldenQuestion
from dream.runtime.by_value import check_arrival
from dream.storage import open_storage

METHOD = """
from typing import Literal
from pydantic import BaseModel, Field
from dream.rag.methods import answer_from, rag_method

HITS = 2

class Walk(BaseModel):
    depth: int = Field(1, ge=1, le=3)
    mode: Literal["near", "far"] = "near"

def hits(depth):
    return HITS * depth

@rag_method("sentences", parameters=Walk, llm_calls=1)
def own_walk(index, llm, *, depth, mode):
    return answer_from(index.as_retriever(similarity_top_k=hits(depth)), llm)
"""
PACK = """
import sys
from pathlib import Path
from dream.rag.methods import RAG_METHODS
from dream.rag.travelling import TravellingMethods
from dream.records import Trial
import pickle
methods = TravellingMethods.of([Trial("own_walk", "llm", "embed")])
Path(sys.argv[1]).write_bytes(pickle.dumps(methods))
"""
# the head of a cluster hands on what it got
HAND_ON = """
import sys
from pathlib import Path
from ray import cloudpickle
import pickle
Path(sys.argv[2]).write_bytes(cloudpickle.dumps(pickle.loads(Path(sys.argv[1]).read_bytes())))
"""
# a worker that has only what is installed
LOAD = """
import pickle, sys
from pathlib import Path
(method,) = pickle.loads(Path(sys.argv[1]).read_bytes()).values()
print(method.name, method.typed({"depth": 3}), method.function.__globals__["hits"](3), method.problems({"depth": 9}))
"""


def python(folder: Path, program: str, *arguments: str) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "program.py").write_text(program)
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "program.py", *arguments]
    ran = subprocess.run(
        command, cwd=folder, env={"PYTHONPATH": root, "HOME": str(folder)}, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    return ran.stdout


@pytest.mark.parametrize("place", ["script", "local module", "module of a local module"])
@pytest.mark.whole
def test_a_method_arrives_where_its_source_is_not(place, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    if place == "script":
        program = METHOD + PACK
    else:
        head, tail = METHOD.split("HITS = 2")
        (here / "more_numbers.py").write_text("HITS = 2\n")
        own = f"{head}import more_numbers\nHITS = more_numbers.HITS\n{tail}" if place != "local module" else METHOD
        (here / "own_methods.py").write_text(
            own.replace("return HITS", "return more_numbers.HITS") if "more" in own else own
        )
        program = "import own_methods\n" + PACK
    python(here, program, str(tmp_path / "packed"))
    python(there, HAND_ON, str(tmp_path / "packed"), str(tmp_path / "packed again"))
    said = python(there, LOAD, str(tmp_path / "packed again"))
    assert said.startswith(
        "own_walk {'depth': 3, 'mode': 'near'} 6 ['own_walk: depth=9 must be a whole number from 1 to 3']"
    )


def test_what_cannot_be_pickled_is_refused_by_name_with_the_remedy():
    lock = threading.Lock()

    @rag_method("sentences")
    def locked(index, llm):
        return lock

    @rag_method("sentences")
    def free(index, llm): ...

    methods = TravellingMethods({name: RAG_METHODS[name] for name in ("locked", "free")})
    with pytest.raises(ConfigurationError) as caught:
        check_arrival(KIND, methods, InProcessEngine().submit)
    message = str(caught.value)
    assert "1 RAG method(s) cannot be sent to the workers:\n  - locked cannot be pickled: " in message
    assert "open them inside the function" in message and "engine='in_process'" in message


def test_built_in_methods_stay_at_home():
    assert dict(TravellingMethods({})) == {}
    trial = SearchSpace(["sentence_window"], ["a"], ["b"]).trials()[0]
    assert not TravellingMethods.of([trial])
    assert pickle.loads(pickle.dumps(TravellingMethods.of([trial]))) == {}


class Missing:
    """Pickled by a name that no worker has."""

    def __reduce__(self):
        return _imported, ("a_package_of_the_driver_alone",)


def _imported(name):
    return __import__(name)


def test_a_child_process_tries_what_would_fail_on_a_worker():
    missing = Missing()

    @rag_method("sentences")
    def needs_a_package(index, llm):
        return missing

    engine = InProcessEngine()
    try:
        methods = TravellingMethods({"needs_a_package": RAG_METHODS["needs_a_package"]})
        with pytest.raises(ConfigurationError) as caught:
            check_arrival(KIND, methods, engine.submit)
    finally:
        engine.close()
    assert "needs_a_package cannot be loaded on a worker: ModuleNotFoundError" in str(caught.value)
    assert "install its package on the workers" in str(caught.value)


def test_a_method_of_a_notebook_runs_on_ray_and_one_that_cannot_costs_nothing(
    on_ray, model_server, relay, no_environment, tmp_path
):
    """Over Ray Client, whose workers know nothing of this module."""
    settings = endpoint_settings(
        model_server, relay, DREAM_HOME=str(tmp_path), DREAM_JUDGE_LLM="judge", DREAM_JUDGE_EMBED_MODEL="embed-large"
    )
    storage = open_storage(settings.documents_uri, settings)
    storage.ensure()
    storage.write_bytes("town.txt", b"Ida Brandt tunes the harbour organ. The ice well is 17 metres deep. " * 3)
    notebook: dict = {"__name__": "__main__"}
    exec(compile(textwrap.dedent(METHOD), "<cell>", "exec"), notebook)  # noqa: S102
    question = GoldenQuestion("q", "Who tunes the harbour organ?", "Ida Brandt.")
    space = SearchSpace(["own_walk"], ["llm-large@relay"], ["embed-small@relay"], {"own_walk": {"depth": [1, 2]}})
    options = {"golden_dataset": GoldenDataset((question,)), "metrics": ["context_recall"], "settings": settings}
    outcome = run_experiment(space, engine="ray", show=None, **options)
    assert [result.failure for result in outcome.results] == [None, None]
    assert all("Ida" in (result.answers[0].text or "") for result in outcome.results)

    lock = threading.Lock()
    notebook["own_walk"].__globals__["HITS"] = lock
    relay.reset()
    with pytest.raises(ConfigurationError, match="own_walk cannot be pickled"):
        run_experiment(space, engine="ray", show=None, **{**options, "metrics": ["faithfulness"]})
    assert relay.requests == []
