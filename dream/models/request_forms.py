"""Forms of requests that servers accept: parameters renamed, omitted or changed, batches halved.

Servers refuse parameters that others need. The refusal names the parameter, the request is sent again in another form,
and the accepted form is remembered for the endpoint and model. The settings of an endpoint are its initial form. Forms
are not part of cache keys, which only contain the client's request.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from dream.errors import NO_ANSWER
from dream.models.json_forms import ANY_JSON, asked_schema
from dream.models.no_answer import BY_MODEL
from dream.models.openai_wire import ModelResponse
from dream.settings import Endpoint

REFUSED_STATUS = frozenset({400, 413, 415, 422, 500, 501})
JSON_OBJECT, JSON_SCHEMA, TEXT = "json_object", "json_schema", "text"
TOKEN_LIMITS = ("max_tokens", "max_completion_tokens")
# optional parameters, without which the question stays the same
OPTIONAL = ("temperature", "top_p", "seed", "user", "n", "stop", "frequency_penalty", "presence_penalty")
LEAST_TOKENS = 64
TEI_DOCUMENTS = "texts"  # TEI's name for the documents to rank
COLDEST = 0.01  # for servers that refuse a temperature of 0

_ABOUT_FORMAT = re.compile(r"response.?format|json.?object|json.?schema|json mode|structured output|guided|grammar")
_ABOUT_LIMIT = re.compile(r"too large|too high|at most|maximum|exceed|less than|between|limit|up to|range|greater than")
_ABOUT_LENGTH = re.compile(r"token|too long|sequence|characters|context")
_MANY_TEXTS = re.compile(r"batch|per request|too many|number of|array|\blist\b|inputs? (count|size)|at once")
_ABOUT_BATCH = re.compile(rf"{_MANY_TEXTS.pattern}|payload|body|entity")
_POSITIVE = re.compile(r"positive|greater than 0|> ?0|above 0|non-?zero|\(0(\.0)?,")


@dataclass(frozen=True)
class RequestForm:
    """The deviations of requests to one model from what clients write. Empty fields mean no deviation.

    `response_format` is json_object, json_schema or text; `token_limit` is the name of the parameter that limits
    tokens, and `max_tokens` its greatest value; `batch_size` is the most texts in an embeddings request;
    `max_input_tokens` is where texts to embed are cut, which only users set; `documents_parameter` holds the texts of a
    ranking. `temperature` is the least that is sent.
    """

    response_format: str = ""
    token_limit: str = ""
    max_tokens: int = 0
    temperature: float = 0.0
    omitted: tuple[str, ...] = ()
    encoding_format: str = ""
    batch_size: int = 0
    max_input_tokens: int = 0
    documents_parameter: str = ""

    @classmethod
    def of(cls, endpoint: Endpoint) -> "RequestForm":
        """The form according to the settings of an endpoint."""
        return cls(
            response_format=endpoint.response_format or "",
            token_limit=endpoint.max_tokens_parameter or "",
            omitted=tuple(endpoint.omit or ()),
            encoding_format=endpoint.encoding_format or "",
            batch_size=endpoint.embed_batch_size or 0,
            max_input_tokens=endpoint.max_input_tokens or 0,
        )

    def described(self) -> dict[str, Any]:
        """The fields that deviate from what clients write."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items() if value}

    def explained(self) -> list[str]:
        """A sentence for each deviation, with the endpoint's variable (DREAM_ENDPOINT_<NAME>_...) that sets it."""
        omitted, asked = ",".join(self.omitted), self.response_format
        varying = ", so that its answers vary" if "temperature" in self.omitted else ""
        lines = {
            f"JSON is requested by {asked} (RESPONSE_FORMAT={asked})": asked,
            f"tokens are limited by {self.token_limit} (MAX_TOKENS_PARAMETER={self.token_limit})": self.token_limit,
            f"at most {self.max_tokens} tokens are requested": self.max_tokens,
            f"the temperature is at least {self.temperature:g}": self.temperature,
            f"{omitted.replace(',', ', ')} is left out{varying} (OMIT={omitted})": omitted,
            f"vectors are requested as {self.encoding_format} (ENCODING_FORMAT={self.encoding_format})": (
                self.encoding_format if "encoding_format" not in self.omitted else ""
            ),
            f"{self.batch_size} texts are embedded at a time (EMBED_BATCH_SIZE={self.batch_size})": self.batch_size,
            f"documents to rank are sent as {self.documents_parameter}, and cut if they are too long": (
                self.documents_parameter
            ),
            f"texts to embed are cut at {self.max_input_tokens} tokens": self.max_input_tokens,
        }
        return [line for line, applies in lines.items() if applies]

    def applied(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A request in this form."""
        sent = {name: value for name, value in body.items() if name not in self.omitted}
        for name in TOKEN_LIMITS:
            if name in sent:
                tokens = min(sent.pop(name), self.max_tokens or sent.get(name) or 10**9)
                sent[self.token_limit or name] = tokens
                break
        if self.documents_parameter and "documents" in sent:
            sent |= {self.documents_parameter: sent.pop("documents"), "truncate": True}
        if self.temperature and "temperature" in sent:
            sent["temperature"] = max(sent["temperature"], self.temperature)
        if self.encoding_format and "encoding_format" in sent:
            sent["encoding_format"] = self.encoding_format
        if self.response_format and "response_format" in sent:
            return _with_format(sent, self.response_format, asked_schema(body) or ANY_JSON)
        return sent


@dataclass(frozen=True)
class Refusal:
    """A server's message about a refused request; `parameter` is the parameter that a field of the error names."""

    status: int
    text: str
    parameter: str = ""

    @classmethod
    def of(cls, response: ModelResponse) -> "Refusal | None":
        """The refusal in a response; None for any other response."""
        error = _error_in(response.body)
        if response.status == BY_MODEL and error is not None and error.get("type") == NO_ANSWER:
            return None  # the model answered, but not usefully
        if response.status not in REFUSED_STATUS and not (response.status == 200 and error):
            return None
        if error is None:
            return cls(response.status, response.body[:2000].decode(errors="replace").lower())
        details = _details(error)
        places = [str(part) for item in details for part in item.get("loc", ())]
        said = [item.get("msg") for item in details] or [error.get("detail"), error.get("message")]
        text = " ".join(str(part) for part in (*said, *places, error.get("code")) if part)
        return cls(response.status, text[:2000].lower(), str(error.get("param") or "").lower())

    def names(self, parameter: str) -> bool:
        """True if the server names a parameter."""
        words = re.escape(parameter).replace("_", "[_ ]")
        return self.parameter == parameter or bool(re.search(rf"(?<![a-z_]){words}(?![a-z_])", self.text))

    @property
    def numbers(self) -> list[int]:
        """The whole numbers in the message, such as a limit and the requested value."""
        numbers = re.findall(r"(?<![\w.])\d[\d,]*(?![\w.]*\d)", self.text)
        return [int(digits.replace(",", "")) for digits in numbers[:20]]


@dataclass(frozen=True)
class Step:
    """Another form to try. `lasts` is false if only this request needs it."""

    form: RequestForm
    lasts: bool = True


def next_form(form: RequestForm, sent: Mapping[str, Any], refusal: Refusal) -> Step | None:
    """The form to try after a refusal; None if no other form would help.

    Args:
        form: the form in which `sent` was refused.

    Example:
        >>> refusal = Refusal(400, "unsupported parameter: 'temperature' is not supported with this model")
        >>> next_form(RequestForm(), {"temperature": 0.0, "messages": []}, refusal).form.described()
        {'omitted': ['temperature']}
    """
    for rule in (_documents, _both_of_two, _format, _context, _token_limit, _encoding, _cold, _optional):
        if (step := rule(form, sent, refusal)) is not None:
            return step
    return None


def _documents(form: RequestForm, sent: Mapping[str, Any], refusal: Refusal) -> Step | None:
    is_named = "documents" in sent and refusal.names(TEI_DOCUMENTS)
    return Step(replace(form, documents_parameter=TEI_DOCUMENTS)) if is_named else None


def _both_of_two(form: RequestForm, sent: Mapping[str, Any], refusal: Refusal) -> Step | None:
    both = ("temperature", "top_p")
    is_named = all(name in sent and refusal.names(name) for name in both)
    return Step(_without(form, "top_p")) if is_named else None


def _format(form: RequestForm, sent: Mapping[str, Any], refusal: Refusal) -> Step | None:
    """Other ways to request JSON: as any object, then by its schema, then only in the prompt."""
    asked = (sent.get("response_format") or {}).get("type")
    if asked is None or not (_ABOUT_FORMAT.search(refusal.text) or refusal.parameter.startswith("response_format")):
        return None
    return Step(replace(form, response_format=JSON_SCHEMA if asked == JSON_OBJECT else TEXT))


def _context(form: RequestForm, sent: Mapping[str, Any], refusal: Refusal) -> Step | None:
    """If the prompt and the maximum answer exceed the context window together, request fewer tokens for this
    request."""
    tokens = next((sent[name] for name in TOKEN_LIMITS if name in sent), None)
    if not tokens or "context" not in refusal.text or len(refusal.numbers) < 2:
        return None
    window, *others = refusal.numbers
    fewer = tokens - (max(others) - window) if max(others) > window else window - max(others)
    return Step(replace(form, max_tokens=fewer), lasts=False) if LEAST_TOKENS <= fewer < tokens else None


def _token_limit(form: RequestForm, sent: Mapping[str, Any], refusal: Refusal) -> Step | None:
    name = next((name for name in TOKEN_LIMITS if name in sent), None)
    if name is None or "context" in refusal.text:
        return None
    other = TOKEN_LIMITS[name == TOKEN_LIMITS[0]]
    if refusal.names(other) and not form.token_limit:
        return Step(replace(form, token_limit=other))
    if not refusal.names(name) and not re.search(r"(completion|output|new) tokens", refusal.text):
        return None
    fewer = [number for number in refusal.numbers if LEAST_TOKENS <= number < sent[name]]
    if fewer and _ABOUT_LIMIT.search(refusal.text):
        return Step(replace(form, max_tokens=max(fewer)))
    return Step(_without(form, *TOKEN_LIMITS) if form.token_limit else replace(form, token_limit=other))


def _encoding(form: RequestForm, sent: Mapping[str, Any], refusal: Refusal) -> Step | None:
    if "encoding_format" not in sent or not (refusal.names("encoding_format") or "base64" in refusal.text):
        return None
    if sent["encoding_format"] == "base64":
        return Step(replace(form, encoding_format="float"))
    return Step(_without(form, "encoding_format"))


def _cold(form: RequestForm, sent: Mapping[str, Any], refusal: Refusal) -> Step | None:
    is_cold = sent.get("temperature", 1) < COLDEST and refusal.names("temperature")
    return Step(replace(form, temperature=COLDEST)) if is_cold and _POSITIVE.search(refusal.text) else None


def _optional(form: RequestForm, sent: Mapping[str, Any], refusal: Refusal) -> Step | None:
    named = [name for name in OPTIONAL if name in sent and len(name) > 1 and refusal.names(name)]
    first = next((name for name in named if name == refusal.parameter), named[0] if named else None)
    return Step(_without(form, first)) if first else None


def batch_that_may_pass(texts: int, refusal: Refusal) -> int | None:
    """The batch size to try after a refused embeddings request of `texts` texts; None if its size is not the reason.

    Example:
        >>> batch_that_may_pass(64, Refusal(413, "batch size 64 > maximum allowed batch size 32"))
        32
        >>> batch_that_may_pass(64, Refusal(413, "request entity too large"))
        32
    """
    if texts < 2 or not (refusal.status == 413 or _ABOUT_BATCH.search(refusal.text)) or is_too_long(refusal):
        return None
    told = [number for number in refusal.numbers if 1 <= number < texts]
    return max(told) if told and _ABOUT_LIMIT.search(refusal.text) else texts // 2


def is_too_long(refusal: Refusal) -> bool:
    """True if a text is too long for the model, as opposed to too many texts."""
    is_size = _ABOUT_LIMIT.search(refusal.text) or "too long" in refusal.text or "must have" in refusal.text
    about_length, about_batch = _ABOUT_LENGTH.search(refusal.text), _MANY_TEXTS.search(refusal.text)
    return bool(is_size and about_length and not about_batch)


def _without(form: RequestForm, *names: str) -> RequestForm:
    return replace(form, omitted=tuple(dict.fromkeys((*form.omitted, *names))))


def _with_format(sent: dict[str, Any], response_format: str, schema: str) -> dict[str, Any]:
    """A request that demands JSON in another way; the prompt has the schema if no other field has it."""
    is_native = sent["response_format"].get("type") == JSON_SCHEMA
    if response_format == JSON_SCHEMA:
        if is_native or schema == ANY_JSON:
            return sent
        value = json.loads(schema)
        name = re.sub(r"\W", "_", str(value.get("title") or "answer"))[:64]
        return {**sent, "response_format": {"type": JSON_SCHEMA, "json_schema": {"name": name, "schema": value}}}
    rest = {name: value for name, value in sent.items() if name != "response_format"}
    if is_native and schema != ANY_JSON:
        wanted = f"Answer with one JSON object that matches this json_schema:\n{schema}"
        rest["messages"] = [{"role": "system", "content": wanted}, *rest["messages"]]
    return rest if response_format == TEXT else {**rest, "response_format": {"type": JSON_OBJECT}}


def _error_in(body: bytes) -> dict[str, Any] | None:
    """The error in the body of a response, with neighbouring fields; None if there is none in JSON."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    value = value[0] if isinstance(value, list) and value else value
    if not isinstance(value, dict):
        return None
    error = value.get("error")
    if isinstance(error, dict):
        return error
    if isinstance(error, str):
        return {**value, "message": f"{error} {value.get('message') or ''}"}
    return value if value.keys() & {"message", "detail"} else None


def _details(error: Mapping[str, Any]) -> list[dict[str, Any]]:
    """FastAPI's list of errors; empty if there is none."""
    details = error.get("detail")
    return [item for item in details if isinstance(item, dict)] if isinstance(details, list) else []
