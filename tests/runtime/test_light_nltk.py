"""nltk without scipy: the same sentences, in a process of its own, since the tests import everything."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from dream.runtime import light_nltk

SENTENCES = """
import sys
{first}
from llama_index.core.node_parser.text.utils import split_by_sentence_tokenizer
print(split_by_sentence_tokenizer()("Dr. Ito measured 3.5 mm. It rained, e.g. in May! Why? See p. 4."))
print("scipy" in sys.modules or "sklearn" in sys.modules)
"""


def output(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


def test_sentences_are_the_same_as_with_the_whole_of_nltk():
    light = output(SENTENCES.format(first="import dream.runtime.light_nltk")).splitlines()
    whole = output(SENTENCES.format(first="import scipy.stats")).splitlines()
    assert light[0] == whole[0]
    assert "'Ito measured 3.5 mm. '" in light[0]
    assert (light[1], whole[1]) == ("False", "True")


def test_scipy_is_hidden_from_the_thread_that_imports_nltk_and_from_no_other():
    finder = light_nltk._Hidden(threading.get_ident())
    assert finder.find_spec("nltk.metrics", None) is None
    with pytest.raises(ModuleNotFoundError, match=r"scipy\.stats is not imported for nltk"):
        finder.find_spec("scipy.stats", None)
    with ThreadPoolExecutor(1) as other:
        assert other.submit(finder.find_spec, "scipy.stats", None).result() is None
    assert not any(isinstance(finder, light_nltk._Hidden) for finder in sys.meta_path)
