"""The server on 127.0.0.1: right answers for many, the right refusals, and no client that brings it down."""

from __future__ import annotations

import json
import math
import random
import socket
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import httpx
import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_utils import cli
from course_utils.models.decoder import Decoder, DecoderConfig
from course_utils.models.generate import generate
from course_utils.pretrained.store import SHIPPED
from course_utils.serving import json_mode
from course_utils.serving.canary import Canary, CanaryError
from course_utils.serving.engine import Engine, ServingError
from course_utils.serving.guard import Limits
from course_utils.serving.json_mode import JsonMask
from course_utils.serving.load_test import load_test, quantile, throughput
from course_utils.serving.request_log import RequestLog
from course_utils.serving.sequential import e_values
from course_utils.serving.server import ServerProcess, start_server
from course_utils.serving.service import ServedModel
from course_utils.serving.text_stream import BROKEN, TextStream
from course_utils.text.chat import chat_prompt
from course_utils.text.tokenizer import encode_plain, train_tokenizer

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
NEW = 12


@pytest.fixture(scope="module")
def tokenizer():
    texts = [f'Mira number {n} lives in Amberhaven, and keeps a cat. {{"town": "Saltmere"}} Grüße' for n in range(40)]
    return train_tokenizer(texts, 320)


def decoder(tokenizer, seed: int = 1) -> Decoder:
    size = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "max_position_embeddings": 256}
    made = Decoder(DecoderConfig(vocab_size=len(tokenizer), tie_word_embeddings=False, **size), seed=seed)
    with torch.no_grad():
        for weight in made.parameters():
            if weight.dim() == 2:
                weight *= 12  # it says something else to everybody, not one word for ever
        made.lm_head.weight[1] *= 0.3  # and seldom ends at once
    return made


@pytest.fixture(scope="module")
def model(tokenizer) -> Decoder:
    return decoder(tokenizer)


@pytest.fixture(scope="module")
def loaded(model, tokenizer):
    return SimpleNamespace(model=model, tokenizer=tokenizer)


class Held(Engine):
    """An engine that waits until it is let go, and can be made to fail."""

    def __init__(self, model, **settings) -> None:
        super().__init__(model, **settings)
        self.go, self.fails, self.seconds = threading.Event(), 0, 0.0
        self.go.set()

    def step(self):
        self.go.wait(20)
        time.sleep(self.seconds)
        if self.fails:
            self.fails -= 1
            raise FloatingPointError("logits are not finite")
        return super().step()


@pytest.fixture
def held(model, tokenizer):
    return ServedModel(model, tokenizer, Held(model))


@pytest.fixture(scope="module")
def server(loaded):
    with start_server({"tiny": loaded}, token={"a" * 30: "ann", "b" * 30: "ben"}) as running:
        yield running


@pytest.fixture(scope="module")
def http(server):
    with client(server) as made:
        yield made


def client(server, token: str | None = None, **options) -> httpx.Client:
    headers = {"Authorization": f"Bearer {token or server.token}"}
    return httpx.Client(base_url=server.url, headers=headers, timeout=20, trust_env=False, **options)


def asked(text: str = "Where does Mira live?", **options) -> dict:
    said = [{"role": "user", "content": text}]
    return {"model": "tiny", "messages": said, "temperature": 0, "max_tokens": NEW, **options}


def alone(loaded, prompts: list[list[int]], new: int = NEW) -> list[str]:
    return generate(loaded.model, prompts, new).texts(loaded.tokenizer)


def until(condition, seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


# The text of an answer


@pytest.mark.slow
@given(st.text(max_size=30), st.lists(st.text(min_size=1, max_size=4), max_size=3), st.integers(0, 2**31))
@settings(max_examples=150, deadline=None)
def test_a_text_stream_sends_the_text_up_to_the_first_stop_string_and_takes_nothing_back(text, stops, seed):
    tokenizer = _tokenizer()
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    if text and random.Random(seed).random() < 0.7:  # a stop string that does occur
        start = random.Random(seed).randrange(len(text))
        stops = [*stops, text[start : start + 3]]
    ids = encode_plain([text], tokenizer)[0]
    whole = tokenizer.decode(ids)
    # It ends with the token that completes a stop string, though a longer one that began before may still be growing.
    read = [tokenizer.decode(ids[:n]).rstrip(BROKEN) for n in range(1, len(ids) + 1)]
    found = ([place for stop in stops if (place := part.find(stop)) >= 0] for part in [*read, whole])
    cut = next((min(places) for places in found if places), len(whole))
    stream, sent = TextStream(tokenizer, stops), ""
    for id in ids:
        sent += stream.push(id)
        assert whole[:cut].startswith(sent)
        if stream.stopped:
            break
    sent += stream.finish()
    assert sent == stream.text == whole[:cut]
    assert "".join(stream.pieces).startswith(sent)
    assert stream.stopped == (cut < len(whole)) or any(stop == "" for stop in stops)


_MADE: list = []


def _tokenizer():
    if not _MADE:
        _MADE.append(train_tokenizer([f"Mira number {n} lives in Amberhaven. Grüße, äöü" for n in range(40)], 300))
    return _MADE[0]


# JSON mode

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-999, 999) | st.text(st.characters(min_codepoint=32, max_codepoint=126)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", min_size=1), inner, max_size=3),
    max_leaves=6,
)


def walk(text: str):
    state = json_mode.START
    for character in text:
        state = None if state is None else json_mode.advance(state, character)
    return state


@pytest.mark.slow
@given(st.dictionaries(st.text("abc"), VALUES, max_size=4), st.booleans())
@settings(max_examples=200, deadline=None)
def test_every_object_that_is_not_too_deep_is_json_mode(value, compact):
    def depth(part) -> int:
        inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else None
        return 0 if inner is None else 1 + max(map(depth, inner), default=0)

    text = json.dumps(value, separators=(",", ":") if compact else None)
    assert (walk(text) == ("end", "")) == (depth(value) <= json_mode.DEPTH)


@given(st.text('{}[]:," -012.tfnrulesax\\', max_size=14))
@settings(max_examples=500, deadline=None)
def test_what_json_mode_lets_end_is_an_object(text):
    if walk("{" + text) == ("end", ""):
        assert isinstance(json.loads("{" + text), dict)


def test_a_mask_leads_to_an_object_whatever_is_drawn(tokenizer):
    mask = JsonMask(tokenizer, {1}, len(tokenizer))
    for seed in range(20):
        draw, ids = random.Random(seed), []
        while True:
            open_to = mask.allowed(ids).nonzero()[:, 0].tolist()
            assert open_to, tokenizer.decode(ids)
            ends = [i for i in open_to if i == 1 or mask.texts.get(i, "").strip() in ('"', "}", "]", '"}')]
            token = draw.choice(ends if ends and len(ids) > 12 else open_to)
            if token == 1:
                break
            ids.append(token)
        assert isinstance(json.loads(tokenizer.decode(ids)), dict)
    assert not mask.allowed(ids)[[i for i in range(len(tokenizer)) if i != 1]].any(), "only the end may follow"


# Answers


@pytest.mark.slow
def test_the_official_client_gets_what_the_model_says_alone(server, loaded, tokenizer):
    import openai

    expected = alone(loaded, [chat_prompt(tokenizer, "Where does Mira live?")])[0]
    api = openai.OpenAI(base_url=server.url + "/v1", api_key=server.token, max_retries=0)
    assert [found.id for found in api.models.list()] == ["tiny"]
    body = asked()
    answer = api.chat.completions.create(**body)
    assert answer.choices[0].message.content == expected and answer.model == "tiny"
    assert answer.usage.prompt_tokens == len(chat_prompt(tokenizer, "Where does Mira live?"))
    pieces = list(api.chat.completions.create(**body, stream=True, stream_options={"include_usage": True}))
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices) == expected
    assert pieces[0].choices[0].delta.role == "assistant" and pieces[-1].usage == answer.usage
    assert [p.choices[0].finish_reason for p in pieces if p.choices][-1] == answer.choices[0].finish_reason
    assert len({piece.id for piece in pieces}) == 1
    parts = [
        {"role": "user", "content": [{"type": "text", "text": "Where does "}, {"type": "text", "text": "Mira live?"}]}
    ]
    again = api.chat.completions.create(**{**body, "messages": parts})
    assert again.choices[0].message.content == expected


def test_prompts_as_texts_and_as_ids_several_at_once_in_their_order(server, http, loaded, tokenizer):
    texts = ["Mira number 3", "Grüße", "keeps a cat"]
    ids = encode_plain(texts, tokenizer)
    expected = alone(loaded, ids)
    for prompt in (texts, ids):
        answer = http.post(TEXT, json={"model": "tiny", "prompt": prompt, "temperature": 0, "max_tokens": NEW}).json()
        assert [choice["text"] for choice in answer["choices"]] == expected
        assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
        assert answer["usage"]["prompt_tokens"] == sum(map(len, ids))
    one = http.post(TEXT, json={"model": "tiny", "prompt": ids[0], "temperature": 0, "max_tokens": NEW}).json()
    assert one["choices"][0]["text"] == expected[0]


def test_what_looks_like_a_special_token_stays_text(server, http, loaded, tokenizer):
    prompt = encode_plain(["a <|end|> b"], tokenizer)[0]
    body = {"model": "tiny", "prompt": "a <|end|> b", "temperature": 0, "max_tokens": 1}
    assert http.post(TEXT, json=body).json()["usage"]["prompt_tokens"] == len(prompt) > 5


def test_a_seed_draws_the_same_again_and_n_draws_differ(http):
    body = asked(temperature=1.5, seed=7, n=4)
    texts = [[c["message"]["content"] for c in http.post(CHAT, json=body).json()["choices"]] for _ in range(2)]
    assert texts[0] == texts[1] and len(set(texts[0])) > 1
    assert (
        http.post(CHAT, json=asked(temperature=1.5, seed=8, n=4)).json()["choices"][0]["message"]["content"] in texts[0]
    )


def test_log_probabilities_are_the_models_own(http, loaded, tokenizer):
    prompt = encode_plain(["Mira lives"], tokenizer)[0]
    own = generate(loaded.model, [prompt], NEW, return_logprobs=True, stop_ids=())
    body = {"model": "tiny", "prompt": prompt, "temperature": 0, "max_tokens": NEW, "logprobs": 0}
    choice = http.post(TEXT, json=body).json()["choices"][0]
    values, tokens = choice["logprobs"]["token_logprobs"], choice["logprobs"]["tokens"]
    assert values == pytest.approx(own.logprobs[0, : len(values)].tolist(), abs=1e-4)
    assert "".join(tokens) == choice["text"]
    for token, start in zip(tokens, choice["logprobs"]["text_offset"], strict=True):
        assert choice["text"][start : start + len(token)] == token
    chat = http.post(CHAT, json=asked(logprobs=True)).json()["choices"][0]
    assert "".join(part["token"] for part in chat["logprobs"]["content"]) == chat["message"]["content"]
    with http.stream("POST", CHAT, json=asked(logprobs=True, stream=True)) as response:
        events = [json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data: {")]
    streamed = [part for e in events if e["choices"][0]["logprobs"] for part in e["choices"][0]["logprobs"]["content"]]
    assert streamed == chat["logprobs"]["content"]


def test_a_stop_string_ends_the_answer_and_frees_its_place(server, http, loaded, tokenizer):
    whole = alone(loaded, [chat_prompt(tokenizer, "Where does Mira live?")])[0]
    stop = whole[len(whole) // 2 : len(whole) // 2 + 3]
    for stream in (False, True):
        response = http.post(CHAT, json=asked(stop=[stop, "never"], stream=stream))
        if stream:
            events = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: {")]
            text = "".join(event["choices"][0]["delta"].get("content", "") for event in events)
            reason = events[-1]["choices"][0]["finish_reason"]
        else:
            text, reason = (lambda c: (c["message"]["content"], c["finish_reason"]))(response.json()["choices"][0])
        assert text == whole[: whole.find(stop)] and reason == "stop"
    assert until(lambda: idle(server))


def idle(server) -> bool:
    stats = [model.engine.stats() for model in server.service.models.values()]
    return not any(s.running or s.waiting for s in stats) and not server.service.by_user


def test_json_by_schema_and_without(http):
    schema = {"type": "object", "properties": {"year": {"type": "integer", "minimum": 1900, "maximum": 1990}}}
    schema["required"] = ["year"]
    wanted = {"type": "json_schema", "json_schema": {"name": "year", "schema": schema, "strict": True}}
    answer = http.post(CHAT, json=asked(response_format=wanted, max_tokens=60)).json()
    assert 1900 <= json.loads(answer["choices"][0]["message"]["content"])["year"] <= 1990
    for seed in range(3):
        body = asked(response_format={"type": "json_object"}, max_tokens=200, temperature=1.5, seed=seed)
        choice = http.post(CHAT, json=body).json()["choices"][0]
        if choice["finish_reason"] == "stop":
            assert isinstance(json.loads(choice["message"]["content"]), dict)
        else:
            assert walk(choice["message"]["content"]) is not None


@pytest.mark.slow
def test_a_hundred_clients_at_once_each_get_their_own_answer(server, loaded, tokenizer):
    names = [f"Where does Mira number {n} live, and who keeps {n * n} cats?" for n in range(100)]
    expected = alone(loaded, [chat_prompt(tokenizer, name) for name in names])
    assert len(set(expected)) > 5, "a test of mixed-up answers needs different ones"
    seen = load_test(server.url, server.token, [asked(name) for name in names], 100)
    assert [one.status for one in seen] == [200] * 100
    assert [one.text for one in seen] == expected
    assert throughput(seen) > 0 and quantile([one.first for one in seen], 0.5) < math.inf
    assert until(lambda: idle(server))


@pytest.mark.slow
def test_nothing_of_one_user_is_in_the_answer_of_another(server, loaded, tokenizer):
    prompts = {user: [f"{user}'s secret {n}: keeps a cat" for n in range(30)] for user in ("ann", "ben")}
    expected = {user: alone(loaded, encode_plain(texts, tokenizer)) for user, texts in prompts.items()}

    def of(user: str) -> list[str]:
        bodies = [{"model": "tiny", "prompt": text, "temperature": 0, "max_tokens": NEW} for text in prompts[user]]
        return [one.text for one in load_test(server.url, user[0] * 30, bodies, 15, TEXT)]

    with ThreadPoolExecutor(2) as pool:
        found = dict(zip(prompts, pool.map(of, prompts), strict=True))
    assert found == expected
    assert expected["ann"] != expected["ben"]


# Refusals


def by_schema(schema: dict) -> dict:
    return asked(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})


SQUARES: dict = {"type": "integer"}
for _ in range(4):
    SQUARES = {"type": "array", "items": SQUARES, "maxItems": 50}

BAD = {
    "no model": (400, {"messages": [{"role": "user", "content": "?"}]}, "model is missing"),
    "unknown model": (404, asked(model="gpt"), 'no model "gpt"; this server has tiny'),
    "no messages": (400, asked(messages=[]), "messages is []"),
    "messages a text": (400, asked(messages="?"), 'messages is "?"'),
    "role": (400, asked(messages=[{"role": "tool", "content": "?"}]), "messages.0.role"),
    "content": (400, asked(messages=[{"role": "user", "content": 5}]), "messages.0.content is 5"),
    "blank": (400, asked(messages=[{"role": "user", "content": "  "}]), "blank"),
    "no content": (400, asked(messages=[{"role": "user"}]), "messages.0.content is missing"),
    "ends with an answer": (400, asked(messages=[{"role": "assistant", "content": "I"}]), "last message"),
    "an image": (400, asked(messages=[{"role": "user", "content": [{"type": "image_url"}]}]), "messages.0"),
    "tools": (400, asked(tools=[]), '"tools" is no field'),
    "penalty": (400, asked(presence_penalty=0.5), "no penalties"),
    "temperature": (400, asked(temperature=3), "temperature is 3"),
    "temperature a text": (400, asked(temperature="1"), 'temperature is "1"'),
    "tiny temperature": (400, asked(temperature=1e-9), "temperature"),
    "top_p": (400, asked(top_p=0), "top_p is 0"),
    "n": (400, asked(n=0), "n is 0"),
    "n true": (400, asked(n=True), "n is true"),
    "too many answers": (400, asked(n=99), "99 answers"),
    "max_tokens": (400, asked(max_tokens=0), "max_tokens is 0"),
    "over the context": (400, asked(max_tokens=250), "the model reads 256"),
    "long prompt": (400, asked("cat " * 300), "Shorten"),
    "seed": (400, asked(seed=-1), "seed is -1"),
    "large seed": (400, asked(seed=2**63), "seed is"),
    "stops": (400, asked(stop=["a"] * 5), "up to 4"),
    "empty stop": (400, asked(stop=""), "stop"),
    "top_logprobs": (400, asked(logprobs=True, top_logprobs=3), "top_logprobs is 3"),
    "schema missing": (400, asked(response_format={"type": "json_schema"}), "json_schema"),
    "schema impossible": (
        400,
        asked(response_format={"type": "json_schema", "json_schema": {"schema": {"enum": []}}}),
        "no text can satisfy",
    ),
    "schema unknown": (
        400,
        asked(response_format={"type": "json_schema", "json_schema": {"schema": {"pattern": "a"}}}),
        "schema",
    ),
    "schema large": (
        400,
        asked(response_format={"type": "json_schema", "json_schema": {"schema": {"enum": ["a" * 20_000]}}}),
        "up to 10,000",
    ),
    "schema of many states": (400, by_schema({"type": "string", "maxLength": 10**9}), "states"),
    "schema of squares": (400, by_schema(SQUARES), "states"),
    "schema with a wrong type": (400, by_schema({"type": "string", "maxLength": "long"}), "schema"),
    "schema with a negative length": (400, by_schema({"type": "string", "maxLength": -1}), "schema"),
    "a list": (400, [1], "object"),
    "null": (400, None, "object"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_request_gets_its_status_and_a_sentence(what, http):
    status, body, words = BAD[what]
    response = http.post(CHAT, json=body)
    error = response.json()["error"]
    assert response.status_code == status
    assert words in error["message"] and len(error["message"]) < 300, error["message"]
    assert set(error) == {"message", "type", "param", "code"}
    assert http.post(CHAT, json=asked()).status_code == 200


@pytest.mark.parametrize("depth", [10, 300, 750])
def test_a_deep_schema_is_kept_or_refused(http, depth):
    deep = '{"anyOf":[' * depth + '{"type":"null"}' + "]}" * depth  # too deep to be written by json.dumps
    body = json.dumps(by_schema({"here": 1})).replace('{"here": 1}', deep)
    response = http.post(CHAT, content=body, headers={"Content-Type": "application/json"})
    assert response.status_code in (200, 400)
    if response.status_code == 200:
        assert response.json()["choices"][0]["message"]["content"].strip() == "null"


RAW = {
    "torn": b'{"model": "tiny", "mess',
    "not UTF-8": b'\xff\xfe{"model": 1}',
    "deep": b"[" * 50_000,
    "NaN": json.dumps(asked(temperature=math.nan)).encode(),
    "half a surrogate": b'{"model": "tiny", "messages": [{"role": "user", "content": "\\ud800"}]}',
    "half a surrogate in a name": b'{"model": "\\ud800", "messages": [{"role": "user", "content": "a"}]}',
    "half a surrogate in a field": b'{"model": "tiny", "\\udc00": 1, "messages": [{"role": "user", "content": "a"}]}',
    "a huge number": b'{"model": "tiny", "max_tokens": ' + b"9" * 6000 + b', "messages": []}',
    "nothing": b"",
}


@pytest.mark.parametrize("what", RAW)
@pytest.mark.parametrize("path", [CHAT, TEXT])
def test_a_malformed_body_is_refused(what, path, http):
    response = http.post(path, content=RAW[what], headers={"Content-Type": "application/json"})
    assert response.status_code in (400, 404), response.text
    assert response.json()["error"]["message"]
    assert http.post(CHAT, json=asked()).status_code == 200


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"prompt": ""}, "prompt is empty"),
        ({"prompt": []}, "prompt is empty"),
        ({"prompt": [[]]}, "empty"),
        ({"prompt": [99_999]}, "token 99999"),
        ({"prompt": [-1]}, "token -1"),
        ({"prompt": [1.5]}, "prompt"),
        ({"prompt": ["a", 1]}, "prompt"),
        ({"prompt": {"a": 1}}, "a text, token ids"),
        ({"prompt": "a", "logprobs": 5}, "logprobs is 5"),
        ({"prompt": "a", "logprobs": 1, "temperature": 1.0}, "logprobs is 1"),
        ({"prompt": ["a"] * 40}, "40 answers"),
    ],
)
def test_a_bad_prompt_is_refused(http, body, words):
    response = http.post(TEXT, json={"model": "tiny", "temperature": 0, **body})
    assert response.status_code == 400 and words in response.json()["error"]["message"], response.text


@pytest.mark.parametrize("path", [CHAT, TEXT, "/v1/models", "/metrics", "/", "/docs"])
@pytest.mark.parametrize("given", ["", "Bearer", "Bearer wrong", "Basic " + "a" * 30, "Bearer " + "a" * 29, "a" * 30])
def test_without_the_token_nothing_is_told(path, given, server):
    response = httpx.post(server.url + path, json=asked(), headers={"Authorization": given} if given else {})
    assert response.status_code == 401 and response.headers["www-authenticate"] == "Bearer"
    assert "Authorization: Bearer" in response.json()["error"]["message"]


def test_paths_and_methods(http):
    assert http.get("/health").json() == {"status": "ok"}
    assert (
        http.get("/v1/nothing").status_code == 404 and "no page" in http.get("/v1/nothing").json()["error"]["message"]
    )
    assert http.get(CHAT).status_code == 405
    assert http.get("/openapi.json").status_code == http.get("/docs").status_code == 404


def test_a_body_that_is_too_large_is_refused_before_it_is_read(server, http):
    response = http.post(CHAT, content=b"x" * 300_000)
    assert response.status_code == 413 and "256,000 bytes" in response.json()["error"]["message"]

    def chunks():  # without a length
        for _ in range(100):
            yield b"x" * 4096

    assert http.post(CHAT, content=chunks()).status_code == 413
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.sendall(head(server, 10**9))  # only said
        assert b"413" in raw.recv(4096).split(b"\r\n")[0]
    assert http.post(CHAT, json=asked()).status_code == 200


def head(server, length: int) -> bytes:
    lines = [f"POST {CHAT} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {server.token}"]
    lines += ["Content-Type: application/json", f"Content-Length: {length}", "", ""]
    return "\r\n".join(lines).encode()


def answered(raw: socket.socket) -> bytes:
    parts = []
    while part := raw.recv(65_536):
        parts.append(part)
    return b"".join(parts)


@pytest.mark.slow
def test_clients_that_dawdle_are_cut_off(loaded):
    with start_server({"tiny": loaded}, limits=Limits(request_seconds=0.4)) as server:
        raws = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(3)]
        for raw, sent in zip(raws, (b"", b"POST /v1/chat", head(server, 100) + b'{"model"'), strict=True):
            raw.settimeout(10)
            raw.sendall(sent)
        found = [reset(raw) for raw in raws]
        assert found[0] == found[1] == b"" and b" 408 " in found[2] and b"0.4 seconds" in found[2]
        assert client(server).post(CHAT, json=asked()).status_code == 200


def reset(raw: socket.socket) -> bytes:
    try:
        return answered(raw)
    except ConnectionError:
        return b""
    finally:
        raw.close()


@pytest.mark.parametrize("sent", [b"", b'{"model": "tiny"', b"\x00\x01\x02"])
def test_a_request_that_is_cut_off_in_the_middle_does_no_harm(server, http, sent):
    for _ in range(5):
        raw = socket.create_connection(("127.0.0.1", server.port))
        raw.sendall(head(server, 1000) + sent)
        raw.close()
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.sendall(b"\x16\x03\x01 no HTTP at all\r\n\r\n")
        assert b" 400 " in raw.recv(4096)
    assert http.post(CHAT, json=asked()).status_code == 200
    assert until(lambda: idle(server))


# Too much, too slow, gone


def test_a_full_queue_and_a_users_share(held):
    limits = Limits(requests=3, per_user=2)
    with (
        start_server({"tiny": held}, token={"a": "ann", "b": "ben"}, limits=limits) as server,
        ThreadPoolExecutor(4) as pool,
    ):
        held.engine.go.clear()
        ann, ben = client(server, "a"), client(server, "b")
        under_way = [pool.submit(ann.post, CHAT, json=asked()) for _ in range(2)]
        assert until(lambda: server.service.by_user["ann"] == 2)
        refused = ann.post(CHAT, json=asked())
        assert refused.status_code == 429 and refused.headers["retry-after"] == "1"
        assert "You have 2 answers under way" in refused.json()["error"]["message"]
        under_way.append(pool.submit(ben.post, CHAT, json=asked()))
        assert until(lambda: server.service.by_user["ben"] == 1)
        full = ben.post(CHAT, json=asked())
        assert full.status_code == 503 and full.headers["retry-after"] == "1" and "queue" in full.text
        held.engine.go.set()
        assert [one.result().status_code for one in under_way] == [200] * 3
        assert ben.post(CHAT, json=asked()).status_code == 200
        assert until(lambda: idle(server))


def test_more_connections_than_allowed_are_turned_away(loaded):
    with start_server({"tiny": loaded}, limits=Limits(connections=4)) as server:
        raws = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(8)]
        assert until(lambda: client(server).get("/health").status_code == 503)
        for raw in raws:
            raw.close()
        assert until(lambda: client(server).get("/health").status_code == 200)


@pytest.mark.parametrize("stream", [True, False])
def test_who_goes_away_stops_costing(held, stream):
    held.engine.seconds = 0.02
    with start_server({"tiny": held}) as server:
        body = json.dumps(asked(max_tokens=200, stream=stream, n=4)).encode()
        with socket.create_connection(("127.0.0.1", server.port)) as raw:
            raw.sendall(head(server, len(body)) + body)
            assert until(lambda: held.engine.stats().running == 4)
            if stream:
                raw.recv(500)
        assert until(lambda: idle(server), 3)
        assert held.engine.stats().free_blocks == 512
        assert 'llm_gone_total{model="tiny"} 1.0' in server.metrics()


@pytest.mark.slow
def test_a_slow_reader_holds_nobody_up_and_is_cut_off(loaded):
    with start_server({"tiny": loaded}, limits=Limits(send_seconds=0.5)) as server:
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.settimeout(10)
        raw.connect(("127.0.0.1", server.port))
        body = json.dumps(asked(max_tokens=200, stream=True, n=16, logprobs=True, temperature=2, seed=1)).encode()
        raw.sendall(head(server, len(body)) + body)
        start = time.monotonic()
        assert client(server).post(CHAT, json=asked()).status_code == 200
        assert until(lambda: idle(server), 20), "what a reader leaves unread does not keep its place"
        assert time.monotonic() - start < 20
        got = reset_length(raw)
        assert got < 16 * 200 * 200, "most of the answer was never sent"
        assert client(server).post(CHAT, json=asked()).status_code == 200


def reset_length(raw: socket.socket) -> int:
    total = 0
    try:
        while part := raw.recv(65_536):
            total += len(part)
    except ConnectionError:
        pass
    finally:
        raw.close()
    return total


def test_an_answer_that_takes_too_long_is_given_up(held):
    with start_server({"tiny": held}, limits=Limits(answer_seconds=0.3)) as server:
        held.engine.go.clear()
        response = client(server).post(CHAT, json=asked())
        assert response.status_code == 504 and "0.3 seconds" in response.json()["error"]["message"]
        held.engine.go.set()
        assert until(lambda: idle(server))
        # on a busy machine 0.3 s are soon over again
        assert until(lambda: client(server).post(CHAT, json=asked()).status_code == 200)


@pytest.mark.parametrize("stream", [True, False])
def test_a_pass_that_fails_loses_its_requests_and_not_the_server(held, stream):
    with start_server({"tiny": held}) as server:
        held.engine.fails = 1
        response = client(server).post(CHAT, json=asked(stream=stream))
        assert response.status_code == (200 if stream else 500)
        assert "logits are not finite" in response.text and '"error"' in response.text
        assert client(server).post(CHAT, json=asked()).status_code == 200
        assert until(lambda: idle(server)) and held.engine.stats().free_blocks == 512


# Start, stop, counters, log


@pytest.mark.slow
def test_stopping_frees_the_port_and_ends_what_runs(held):
    server = start_server({"tiny": held})
    held.engine.seconds = 0.05
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(client(server).post, CHAT, json=asked(max_tokens=240))
        assert until(lambda: held.engine.stats().running == 1)
        start = time.monotonic()
        server.stop()
        assert time.monotonic() - start < 8
        assert under_way.exception() is not None or under_way.result().status_code in (200, 500, 503)
    with pytest.raises(httpx.ConnectError):
        client(server).get("/health")
    assert not server._thread.is_alive()
    with start_server({"tiny": held}, port=server.port) as again:  # the port is free
        assert client(again).get("/health").status_code == 200
        with pytest.raises(ServingError, match=f"port {server.port}.*another port"):
            start_server({"tiny": held}, port=server.port)


def test_it_listens_on_this_machine_alone(server):
    (listening,) = [
        c for c in psutil.Process().net_connections() if c.status == "LISTEN" and c.laddr.port == server.port
    ]
    assert listening.laddr.ip == "127.0.0.1"
    assert len(start_token()) >= 30


def start_token() -> str:
    import secrets

    return secrets.token_urlsafe(24)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"models": {}}, "no model"),
        ({"token": ""}, "token is empty"),
        ({"token": {}}, "token is empty"),
        ({"blocks": 0}, "blocks=0"),
        ({"canary": Canary("course", "tiny", "other")}, "splits 'tiny' and 'other'"),
    ],
)
def test_a_server_that_cannot_be_is_refused_at_once(loaded, options, words):
    with pytest.raises(ServingError, match=words):
        start_server(**{"models": {"tiny": loaded}, **options})


def test_a_tokenizer_of_another_model_is_refused(loaded, tokenizer):
    small = Decoder(DecoderConfig(vocab_size=262, hidden_size=32, intermediate_size=48, num_hidden_layers=1))
    with pytest.raises(ServingError, match="do not belong together"):
        start_server({"tiny": SimpleNamespace(model=small, tokenizer=tokenizer)})


@pytest.mark.slow
def test_metrics_and_log_tell_of_the_requests(loaded, tmp_path):
    with start_server({"tiny": loaded}, log=tmp_path / "log.sqlite") as server:
        http = client(server)
        for n in range(3):
            http.post(CHAT, json=asked(f"Who is {n}?"))
        http.post(TEXT, json={"model": "tiny", "prompt": "keeps a cat", "temperature": 0, "n": 2})
        http.post(CHAT, json=asked(temperature=9))
        page = http.get("/metrics").text
    assert 'llm_requests_total{path="/v1/chat/completions",status="200"} 3.0' in page
    assert 'llm_requests_total{path="/v1/chat/completions",status="400"} 1.0' in page
    assert 'llm_running{model="tiny"} 0.0' in page and "llm_time_to_first_token_seconds_bucket" in page
    with RequestLog(tmp_path / "log.sqlite", read_only=True) as log:
        rows = log.rows()
    assert len(rows) == 5
    assert [row["prompt"] for row in rows[:3]] == [f"Who is {n}?" for n in range(3)]
    assert all(row["model"] == "tiny" and row["latency"] > 0 and row["confidence"] < 0 for row in rows)
    assert rows[3]["prompt"] == "keeps a cat" and rows[3]["answer_tokens"] > 0


@pytest.mark.slow
def test_memory_stays_flat_over_many_requests(loaded):
    process = psutil.Process()
    with start_server({"tiny": loaded}, blocks=64) as server:

        def several(number: int) -> float:
            bodies = [asked(f"Who keeps {n} cats?", max_tokens=3, stop=["zz"]) for n in range(number)]
            assert {one.status for one in load_test(server.url, server.token, bodies, 8)} == {200}
            return process.memory_info().rss / 2**20

        before = several(400)
        after = several(800)
        assert after - before < 8, f"{before:.1f} MiB, and {after:.1f} after 800 requests more"
        assert until(lambda: idle(server)) and not server.service.drivers["tiny"].active


@pytest.mark.slow
def test_a_server_in_a_process_of_its_own():
    import openai

    with ServerProcess(SHIPPED / "instruct") as server:
        process = psutil.Process(server.pid)
        assert server.token not in " ".join(process.cmdline()), "the arguments of a process are no secret"
        api = openai.OpenAI(base_url=server.url + "/v1", api_key=server.token, max_retries=0)
        assert [found.id for found in api.models.list()] == ["instruct"]
        said = [{"role": "user", "content": "What is the home town of Corin Fenn?"}]
        answer = api.chat.completions.create(model="instruct", messages=said, temperature=0)
        assert answer.choices[0].message.content.startswith("Corin Fenn")
    assert until(lambda: not process.is_running())


@pytest.mark.slow
@pytest.mark.parametrize("card", [True, False])
def test_half_a_model_is_not_served(card, tmp_path, capsys):
    folder = tmp_path / "half"
    folder.mkdir()
    for name in ("config.json", "card.json") if card else ("config.json",):
        (folder / name).write_text((SHIPPED / "instruct" / name).read_text())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the store also warns
        assert cli.main(["serve", str(folder)]) == 1
    said = capsys.readouterr().err
    assert "error: " in said and "model.safetensors" in said


def test_without_its_libraries_the_command_says_what_to_install(monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "course_utils.serving.server", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert cli.main(["serve", "instruct"]) == 1
    assert "uvicorn is not installed: pip install 'llm-course[chapters]'" in capsys.readouterr().err


def test_a_process_that_cannot_serve_says_so(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(ServingError, match="did not start"):
        ServerProcess(tmp_path)


# The canary


def test_users_stay_with_their_model_and_move_in_one_direction():
    canary = Canary("course", "old", "new", 0.1)
    users = [f"user {n}" for n in range(4000)]
    groups = []
    for weight in (0.0, 0.1, 0.3, 1.0):
        canary.set_weight(weight)
        chosen = {user for user in users if canary.choose(user) == "new"}
        assert chosen == {user for user in users if canary.choose(user) == "new"}
        assert abs(len(chosen) / len(users) - weight) < 0.025
        groups.append(chosen)
    assert all(small <= large for small, large in zip(groups, groups[1:], strict=False))
    other = Canary("other", "old", "new", 0.3)
    assert {user for user in users if other.choose(user) == "new"} != groups[2], "not the same users every time"


def judged_year(seed: int, old: float, new: float, answers: int = 600) -> Canary:
    draw, canary = random.Random(seed), Canary("course", "old", "new", 0.3)
    for n in range(answers):
        name = canary.choose(f"{seed}-{n}")
        canary.judged(name, draw.random() < (new if name == "new" else old))
    return canary


@pytest.mark.slow
def test_a_worse_canary_is_rolled_back_and_an_equal_one_hardly_ever():
    assert sum(judged_year(seed, 0.9, 0.6).rolled_back for seed in range(20)) >= 19
    equal = sum(judged_year(seed, 0.9, 0.9).rolled_back for seed in range(100))
    assert equal <= 5
    better = judged_year(1, 0.6, 0.95)
    assert not better.rolled_back and better.evidence >= 20 and not better.worse
    assert better.evidence == pytest.approx(
        math.exp(e_values([1] * better.wins + [0] * better.losses, 0.5)[-1]), rel=1e-6
    )
    worse = judged_year(2, 0.9, 0.3)
    assert worse.rolled_back and {worse.choose(f"u{n}") for n in range(100)} == {"old"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"weight": 1.5}, "1.5"),
        ({"weight": -0.1}, "0 to 1"),
        ({"alpha": 0}, "alpha"),
        ({"canary": "old"}, "three different"),
        ({"name": "new"}, "three different"),
    ],
)
def test_a_canary_that_cannot_be(options, words):
    with pytest.raises(CanaryError, match=words):
        Canary(**{"name": "course", "stable": "old", "canary": "new", **options})
    with pytest.raises(CanaryError, match="neither"):
        Canary("course", "old", "new").judged("other", True)


@pytest.mark.slow
def test_a_canary_behind_the_server_answers_its_users_and_no_more_after_the_rollback(loaded, tokenizer):
    other = SimpleNamespace(model=decoder(tokenizer, seed=2), tokenizer=tokenizer)
    canary = Canary("course", "tiny", "other", 0.4)
    with start_server({"tiny": loaded, "other": other}, canary=canary) as server:
        http = client(server)
        assert [row["id"] for row in http.get("/v1/models").json()["data"]] == ["tiny", "other", "course"]
        users = [f"user {n}" for n in range(20)]
        for _ in range(2):
            for user in users:
                answer = http.post(CHAT, json=asked(model="course", user=user, max_tokens=4)).json()
                assert answer["model"] == canary.choose(user)
                there = loaded if answer["model"] == "tiny" else other
                expected = alone(there, [chat_prompt(tokenizer, "Where does Mira live?")], 4)[0]
                assert answer["choices"][0]["message"]["content"] == expected
        canary.rollback()
        later = {http.post(CHAT, json=asked(model="course", user=u, max_tokens=1)).json()["model"] for u in users}
        assert later == {"tiny"}
        assert http.post(CHAT, json=asked(model="other", max_tokens=1)).json()["model"] == "other"
