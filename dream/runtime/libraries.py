"""Process-wide switches of libraries, set before they are imported."""

import atexit
import gc
import os
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

# In place of 700, 10, 10: the libraries create 600,000 objects, and scanning these took a quarter of the time of
# their import and paused event loops for 0.3 s at a time.
GC_THRESHOLD = (50_000, 20, 20)
_prepared = False


def prepare_libraries() -> None:
    """Turn off telemetry, tokenizer downloads, gRPC's fork handlers and minutes of retries against a dead MLflow.

    Also reduces the frequency of garbage collection, and leaves it out at the end of the process, where it took up to
    three seconds. Variables and thresholds that the user has set are kept. Modules call this just before they import
    ragas, Ray or MLflow, which read the variables at import.
    """
    global _prepared
    core = find_spec("llama_index.core")
    folder = Path(core.origin).parent if core and core.origin else Path()
    for name, value in {
        "DO_NOT_TRACK": "true",
        "RAGAS_DO_NOT_TRACK": "true",
        "RAY_USAGE_STATS_ENABLED": "0",
        "GRPC_ENABLE_FORK_SUPPORT": "0",  # gRPC's fork handlers abort one in a hundred processes that Ray starts
        "TUNE_DISABLE_SIGINT_HANDLER": "1",  # with it, Ctrl-C would look like trials whose workers were lost
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # a CSV, a JSON and a TensorBoard file for each trial, all unused
        "RAY_AIR_NEW_OUTPUT": "0",  # Ray Tune's newer output prints a table even when told to be silent
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_LOGGING_LEVEL": "ERROR",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
        "TIKTOKEN_CACHE_DIR": str(folder / "_static" / "tiktoken_cache"),
    }.items():
        os.environ.setdefault(name, value)
    if 0 < gc.get_threshold()[0] < GC_THRESHOLD[0]:
        gc.set_threshold(*GC_THRESHOLD)
    if not _prepared:
        atexit.register(gc.freeze)
        _prepared = True


def import_modules(modules: Sequence[str]) -> None:
    """Import modules by name."""
    for module in modules:
        import_module(module)


_importing: list[threading.Thread] = []


def import_meanwhile(modules: Sequence[str]) -> None:
    """Import modules in a background thread, while the caller waits for models, for Ray, or for an index.

    httpx2 is imported here at once: the OpenAI client, which this thread may use, looks it up among the loaded modules,
    and must not find it partly imported.
    """
    missing = [module for module in modules if module not in sys.modules]
    if not missing:
        return
    prepare_libraries()
    with suppress(ImportError):
        import_module("httpx2")
    thread = threading.Thread(target=import_modules, args=(missing,), name="dream-imports", daemon=True)
    _importing.append(thread)
    thread.start()


def wait_for_imports() -> None:
    """Wait for the threads of `import_meanwhile`: two threads must not import the same parts of ragas or LlamaIndex."""
    for thread in [*_importing]:
        thread.join()
