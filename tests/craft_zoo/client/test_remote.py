"""A model behind a server: the responses of the local model, complete, checked and paid once."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from craft_zoo.adapter import Adapter
from craft_zoo.blackbox import DEFAULT_INIT, load_vlm
from craft_zoo.canaries import ask_canaries, check_drift
from craft_zoo.client import Refused, RemoteVLM
from craft_zoo.data import Task
from craft_zoo.data.augment import augmented
from craft_zoo.errors import CraftZooError, UnavailableError
from craft_zoo.openclip import OpenCLIP
from craft_zoo.protocol import DIGEST_HEADER, ErrorCode, encode_array
from craft_zoo.solution import Solution

NAMES = ["cat", "dog", "blue whale"]
Connect = Callable[..., RemoteVLM]


def some_contexts(box: Any, count: int, *shape: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    start = box.initial_context
    noise = 0.01 * rng.standard_normal((count, *shape, *start.shape))
    return (start + noise).astype(np.float32)


def test_the_model_is_the_same_to_the_last_bit(
    server: Any, connect: Connect, vlm: OpenCLIP, small_task: Task, tmp_path: Path
) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(small_task.train.images[0]).convert("L").resize((90, 40)).save(path)
    rng = np.random.default_rng(0)
    sources = [
        *small_task.train.images[:4],
        path,
        str(path),
        Image.open(path),
        *augmented(small_task.train.images[:2], rng),
    ]
    remote = connect()
    assert (remote.name, remote.image_size, remote.in_flight) == (server.url, vlm.image_size, 40)
    for init in (DEFAULT_INIT, "a sketch of the {}, in ink."):
        mine, theirs = vlm.classifier(NAMES, init), remote.classifier(NAMES, init)
        assert theirs.template == mine.template
        assert theirs.accepts == mine.accepts
        assert theirs.classnames == mine.classnames
        np.testing.assert_array_equal(theirs.initial_context, mine.initial_context)
        images, handed = vlm.images(sources), remote.images(sources)
        assert len(handed) == len(sources)
        for prompts in (
            some_contexts(mine, 3),
            some_contexts(mine, 2, len(NAMES)),
            ["{}", "a photo of a {}."],
            [("{}", "a {}", "the {}")],
        ):
            answers = list(theirs.logits(prompts, handed))
            for answer, expected in zip(answers, mine.logits(prompts, images), strict=True):
                np.testing.assert_array_equal(answer, expected)


def test_a_request_holds_what_the_server_likes_at_once(
    server: Any, connect: Connect, small_task: Task
) -> None:
    server.in_flight = 3
    remote = connect()
    box, images = remote.classifier(NAMES), remote.images(small_task.train.images)
    answers = box.logits(some_contexts(box, 7), images)
    assert server.asked("POST /v1/classifiers/") == 0
    next(answers)
    assert server.predictions == 3 * 20  # no more than is looked at
    assert len(list(answers)) == 6
    assert server.predictions == 7 * 20
    assert remote.cost_limit.predictions == 7 * 20


@pytest.mark.parametrize(
    ("limits", "together"),
    [
        ({"contexts": 3}, 3),
        ({"answer_bytes": 4 * 20 * 3 * 2}, 2),
        ({"answer_bytes": 4 * 20 * 3}, 1),
        ({"body_bytes": 2**12 + 4 * 4 * 256 * 4}, 4),
        ({"body_bytes": 2**26}, 7),
    ],
)
def test_a_request_keeps_to_the_limits(
    limits: Any, together: int, server: Any, connect: Connect, small_task: Task
) -> None:
    server.limits = limits
    remote = connect()
    box, images = remote.classifier(NAMES), remote.images(small_task.train.images)
    assert box.initial_context.shape == (4, 256)
    next(box.logits(some_contexts(box, 7), images))
    assert server.predictions == 20 * together


def test_only_what_is_missing_is_sent_once(
    server: Any, connect: Connect, small_task: Task, tmp_path: Path
) -> None:
    sources = list(small_task.train.images[:6])
    remote = connect()
    seen: list[tuple[int, int]] = []
    remote.images([*sources, *sources], lambda done, of: seen.append((done, of)))
    assert server.asked("PUT") == 1
    (known,) = server.sets.values()
    assert len(known["files"]) == 6
    assert seen[0] == (0, 12)
    assert seen[-1] == (12, 12)
    remote.images([*sources, *sources])
    assert server.asked("PUT") == 1
    path = tmp_path / "image.webp"
    Image.fromarray(sources[0]).save(path, lossless=True)
    remote.images([path])
    assert list(list(server.sets.values())[-1]["files"].values()) == [path.read_bytes()]


def test_large_sets_come_in_bounded_requests(server: Any, connect: Connect) -> None:
    rng = np.random.default_rng(0)
    sources = [rng.integers(0, 255, (16, 16, 3), dtype=np.uint8) for _ in range(150)]
    remote = connect()
    seen: list[int] = []
    remote.images(sources, lambda done, of: seen.append(done))
    assert seen == [0, 64, 128, 150]
    server.limits = {"body_bytes": 2100}
    before = server.asked("PUT")
    connect().images(sources[:5][::-1])
    assert server.asked("PUT") - before == 3  # of some 800 bytes each


def test_what_the_server_forgets_is_handed_over_again(
    server: Any, connect: Connect, small_task: Task
) -> None:
    remote = connect()
    box, images = remote.classifier(NAMES), remote.images(small_task.train.images)
    contexts = some_contexts(box, 2)
    before = list(box.logits(contexts, images))
    server.restart()
    after = list(box.logits(contexts, images))
    np.testing.assert_array_equal(before, after)
    first, *rest = server.keys
    assert len(set(rest)) == 1
    assert rest[0] != first  # it was asked twice on purpose
    assert server.predictions == 2 * 2 * 20


@pytest.mark.slow
def test_a_server_that_is_begun_again_many_times(
    server: Any, connect: Connect, small_task: Task
) -> None:
    remote = connect()
    box, images = remote.classifier(NAMES), remote.images(small_task.train.images[:4])
    expected = box.score("{}", images)
    server.keys.clear()
    left = [0] * 12

    def forget(method: str, path: str) -> None:
        if "scores" in path and left:
            left.pop()
            server.restart()

    server.hook = forget
    np.testing.assert_array_equal(box.score("{}", images), expected)
    assert len(server.keys) == 13
    assert len(set(server.keys)) == 1
    assert server.predictions == 2 * 4


@pytest.mark.slow
def test_a_server_that_forgets_at_once(server: Any, connect: Connect, small_task: Task) -> None:
    remote = connect()
    box, images = remote.classifier(NAMES), remote.images(small_task.train.images)

    def forget(method: str, path: str) -> None:
        if "scores" in path:
            server.restart()

    server.hook = forget
    with pytest.raises(CraftZooError, match="drops images or class names before they are"):
        box.score("{}", images)
    assert server.predictions == 0


def test_a_server_that_forgets_while_it_is_told(
    server: Any, connect: Connect, small_task: Task
) -> None:
    left = {"PUT": 2, "GET": 2}

    def forget(method: str, path: str) -> None:
        if left.get(method) and "model" not in path:
            left[method] -= 1
            server.restart()

    remote = connect()
    server.hook = forget
    box, images = remote.classifier(NAMES), remote.images(small_task.train.images)
    server.hook = lambda method, path: None
    assert box.score("{}", images).shape == (20, 3)
    assert left == {"PUT": 0, "GET": 0}


def failing(server: Any, answers: list[Any], where: str = "scores") -> None:
    """Let the server return these responses one after another, and then correct ones."""

    def hook(method: str, path: str) -> Any:
        if where in path and answers:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        return None

    server.hook = hook


def test_what_may_pass_is_tried_again(
    server: Any, connect: Connect, small_task: Task, time: Any, fakes: dict[str, Any]
) -> None:
    refusal = fakes["Refusal"]
    remote = connect()
    box, images = remote.classifier(NAMES), remote.images(small_task.train.images)
    expected = box.score("{}", images)
    time.slept.clear()
    failing(
        server,
        [
            refusal(ErrorCode.BUSY, "many are waiting", Retry_After="3"),
            refusal(ErrorCode.RATE_LIMITED, "slowly", Retry_After="2"),
            refusal(ErrorCode.BAD_DIGEST),
            refusal(ErrorCode.INTERNAL),
            (502, b"<html>", {"Craft-Zoo-Digest": "", "Content-Type": "text/html"}),
            (200, b"half of an", {"Craft-Zoo-Digest": "of another"}),
            (200, b"\x93NUM", {"Craft-Zoo-Digest": ""}),
            (400, b"no reason", {}),
            (400, b"[" * 100_000, {"Craft-Zoo-Digest": "of another"}),  # not even looked into
            (200, encode_array(np.zeros((1, 20, 3))), {"Idempotency-Key": "of another"}),
        ],
    )
    np.testing.assert_array_equal(box.score("{}", images), expected)
    assert time.slept[:2] == [3.25, 2.5]
    assert len(time.slept) == 10
    assert set(server.times_sent().values()) == {1}  # the failures were before the ledger
    assert server.predictions == 2 * 20


def test_the_sentence_at_the_end_of_patience(
    server: Any, connect: Connect, small_task: Task, time: Any, fakes: dict[str, Any]
) -> None:
    remote = connect(retrying=time.retrying(seconds=120))
    box, images = remote.classifier(NAMES), remote.images(small_task.train.images)
    failing(server, [fakes["Refusal"](ErrorCode.BUSY, "many are waiting")] * 1000)
    sentence = (
        rf"^server {server.url} did not answer for 1\d\d s \(many are waiting; \d+ attempts\): "
        rf"rerun the same command once it is available, to continue$"
    )
    with pytest.raises(CraftZooError, match=sentence):
        box.score("{}", images)


def test_nobody_there(connect: Connect, time: Any) -> None:
    with pytest.raises(CraftZooError, match=r"http://127.0.0.1:1 did not answer .*refused"):
        connect(url="http://127.0.0.1:1/", retrying=time.retrying(attempts=3))
    assert len(time.slept) == 2


def test_what_cannot_pass_is_asked_once(
    server: Any, connect: Connect, small_task: Task, time: Any, fakes: dict[str, Any]
) -> None:
    remote = connect()
    box, images = remote.classifier(NAMES), remote.images(small_task.train.images)
    for code in (ErrorCode.QUOTA_EXCEEDED, ErrorCode.CONFLICT, ErrorCode.TOO_LARGE):
        failing(server, [fakes["Refusal"](code, f"it is {code}: mend it")])
        with pytest.raises(Refused, match=f"^it is {code}: mend it$") as caught:
            box.score("{}", images)
        assert caught.value.code == code
    failing(server, [fakes["Refusal"](ErrorCode.INTERNAL, "it broke")] * 100)
    with pytest.raises(CraftZooError, match=r"\(it broke; 5 attempts\): check the address, or"):
        box.score("{}", images)
    assert len(time.slept) == 4
    proxy = (413, b"<html>", {"Craft-Zoo-Digest": "", "Content-Type": "text/html"})
    failing(server, [proxy])
    with pytest.raises(CraftZooError, match=r"a proxy in front of .* refuses large requests"):
        box.score("{}", images)


def test_a_slow_answer_is_not_waited_for(server: Any, connect: Connect, small_task: Task) -> None:
    import time as clock

    remote = connect(timeout=0.5)
    box, images = remote.classifier(NAMES), remote.images(small_task.train.images[:2])
    left = [1]

    def hook(method: str, path: str) -> None:
        if "scores" in path and left:
            left.pop()
            clock.sleep(0.8)

    server.hook = hook
    box.score("{}", images)
    assert len(server.keys) > 1
    assert len(set(server.keys)) == 1
    assert server.predictions == 2


def test_keys(server: Any, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CRAFT_ZOO_API_KEY", raising=False)
    with pytest.raises(Refused, match=r"asks for an API key .*: set CRAFT_ZOO_API_KEY$"):
        connect(api_key=None)
    monkeypatch.setenv("CRAFT_ZOO_API_KEY", "wrong")
    with pytest.raises(Refused, match=r"does not know the API key .*: set CRAFT_ZOO_API_KEY$"):
        connect(api_key=None)
    monkeypatch.setenv("CRAFT_ZOO_API_KEY", " secret\n")
    assert connect(api_key=None).in_flight == 40
    for key in ("süß", "a\nb"):
        with pytest.raises(CraftZooError, match="contains invalid characters"):
            connect(api_key=key)


@pytest.mark.parametrize(
    ("alter", "sentence"),
    [
        (lambda scores: np.full_like(scores, np.nan), "answered with NaN or infinity"),
        (lambda scores: scores[:, :-1], r"shape \(1, 19, 3\) instead of \(1, 20, 3\)"),
        (lambda scores: scores[0], r"shape \(20, 3\) instead"),
    ],
)
def test_answers_are_looked_at(
    alter: Any, sentence: str, server: Any, connect: Connect, small_task: Task
) -> None:
    remote = connect()
    box, images = remote.classifier(NAMES), remote.images(small_task.train.images)
    server.alter = alter
    with pytest.raises(CraftZooError, match=sentence):
        box.score("{}", images)


def test_an_owner_who_bills_too_much_is_noticed(
    server: Any, connect: Connect, small_task: Task
) -> None:
    remote = connect()
    box, images = remote.classifier(NAMES), remote.images(small_task.train.images)
    scores = encode_array(np.zeros((1, 20, 3)))
    failing(server, [(200, scores, {"Craft-Zoo-Billed": "40"})])
    with pytest.warns(UserWarning, match="billed 40 predictions instead of 20"):
        box.score("{}", images)


def test_bad_images_are_named(
    server: Any, connect: Connect, small_task: Task, tmp_path: Path, fakes: dict[str, Any]
) -> None:
    broken, good = tmp_path / "broken.png", tmp_path / "good.png"
    Image.fromarray(small_task.train.images[0]).save(good)
    broken.write_bytes(good.read_bytes()[:-30])
    remote = connect()
    with pytest.raises(CraftZooError, match=f"image {broken} cannot be read"):
        remote.images([good, broken])
    with pytest.raises(CraftZooError, match=r"image nowhere\.png does not exist: check the path"):
        remote.images(["nowhere.png"])
    with pytest.raises(CraftZooError, match="no images"):
        remote.images([])
    failing(server, [fakes["Refusal"](ErrorCode.BAD_IMAGE, "too many pixels")], "images")
    with pytest.raises(Refused, match="too many pixels"):
        remote.images([good])
    failing(server, [(200, b'{"missing": [0]}', {})], "/images")
    with pytest.raises(CraftZooError, match="did not store the images"):
        remote.images(small_task.train.images[:1])
    failing(server, [(200, b'{"id": "a", "missing": [7]}', {})], "image-sets")
    with pytest.raises(CraftZooError, match="asks for images that do not exist"):
        remote.images(small_task.train.images[:1])


def test_budgets_refuse_before_anything_is_asked(
    server: Any, connect: Connect, small_task: Task
) -> None:
    server.in_flight = 2
    for limits, sentence in (
        ({"max_predictions": 60}, r"40 more .* limit of 60 \(40 made\): raise max_predictions "),
        ({"price": 0.01, "max_cost": 0.6}, r"cost 0.4 and exceed .* of 0.6 \(0.4 spent\)"),
    ):
        remote = connect(**limits)
        box, images = remote.classifier(NAMES), remote.images(small_task.train.images)
        contexts = some_contexts(box, 4)
        list(box.logits(contexts[:2], images))
        before = server.predictions
        with pytest.raises(CraftZooError, match=sentence):
            list(box.logits(contexts[2:], images))
        assert server.predictions == before
        list(box.logits(contexts[:1], images))
        assert remote.cost_limit.predictions == 60
    assert remote.cost_limit.cost == pytest.approx(0.6)
    for limits, sentence in (
        ({"max_cost": 3.0}, "needs to know the price"),
        ({"max_predictions": -1}, "max_predictions must not be negative"),
        ({"price": float("nan"), "max_cost": 1.0}, "price of predictions must be"),
    ):
        with pytest.raises(CraftZooError, match=sentence):
            connect(**limits)


@pytest.mark.parametrize(("status", "counted"), [(503, 0), (504, 40)])
def test_a_question_without_an_answer_counts_only_if_it_may_be_billed(
    status: int, counted: int, server: Any, connect: Connect, small_task: Task
) -> None:
    remote = connect(max_predictions=60)
    box, images = remote.classifier(NAMES), remote.images(small_task.train.images)
    contexts = some_contexts(box, 2)
    server.hook = lambda method, path: (status, b"", {DIGEST_HEADER: ""})
    with pytest.raises(UnavailableError, match=f"HTTP {status}"):
        list(box.logits(contexts, images))
    assert remote.cost_limit.predictions == counted


def test_usage(connect: Connect, small_task: Task) -> None:
    remote = connect()
    box, images = remote.classifier(NAMES), remote.images(small_task.train.images)
    list(box.logits(some_contexts(box, 2), images))
    usage = remote.usage()
    assert (usage.predictions, usage.scores, usage.requests) == (40, 120, 1)
    assert usage.quota is usage.remaining is None


def test_words_only(server: Any, connect: Connect, small_task: Task) -> None:
    server.accepts = ["texts"]
    remote = connect()
    box = remote.classifier(NAMES)
    assert box.accepts == {"texts"}
    assert box.initial_context.shape == (0, 0)
    assert box.initial_prompt == "a photo of a {}."
    assert server.asked("GET /v1/classifiers") == 0


def test_an_initial_context_is_fetched_once(server: Any, connect: Connect) -> None:
    remote = connect()
    for _ in range(3):
        remote.classifier(NAMES).initial_context[:] = 0  # nobody else sees that
    assert remote.classifier(NAMES).initial_context.any()
    assert server.asked("GET /v1/classifiers") == 1


def test_images_of_others(server: Any, connect: Connect, vlm: OpenCLIP, small_task: Task) -> None:
    remote = connect()
    box = remote.classifier(NAMES)
    for other in (vlm, connect()):
        with pytest.raises(CraftZooError, match="belong to another model"):
            box.logits(["{}"], other.images(small_task.train.images[:2]))
    with pytest.raises(CraftZooError, match="belong to another model"):
        remote.forget(other.images(small_task.train.images[:2]))
    with pytest.raises(CraftZooError, match="no class names"):
        remote.classifier([])


def test_forgotten_images_are_handed_over_when_they_are_asked_about(
    server: Any, connect: Connect, small_task: Task
) -> None:
    server.limits = {"images": 3}
    remote = connect()
    box, images = remote.classifier(NAMES), remote.images(small_task.train.images[:5])
    assert set(server.sets) == images.ids
    assert len(images.ids) == 2
    remote.forget(images)
    remote.forget(images)
    assert not server.sets
    assert box.score("{}", images).shape == (5, 3)
    assert set(server.sets) == images.ids


def test_images_that_need_not_be_kept_are_forgotten_there(
    server: Any, connect: Connect, small_task: Task
) -> None:
    sources = small_task.train.images
    server.limits = {"images": 2}
    remote = connect()
    kept, passing = remote.images(sources[:3]), remote.images(sources[3:6], keep=False)
    twin = remote.images(sources[3:6], keep=False)
    del passing
    remote.images(sources[6:7], keep=False)
    assert kept.ids | twin.ids < set(server.sets)
    assert server.asked("DELETE") == 0
    remote.images(sources[7:8], keep=True)
    assert server.asked("DELETE") == 1  # of what nobody has held
    ids = kept.ids
    del kept, twin
    remote.images(sources[8:9])
    assert server.asked("DELETE") == 3  # two sets more, and none of them twice
    assert len(server.sets) == 2 + 1 + 1
    assert ids < set(server.sets)  # they may come again


def test_a_question_does_not_wait_for_what_is_forgotten(
    server: Any, connect: Connect, small_task: Task, time: Any
) -> None:
    remote = connect()
    remote.images(small_task.train.images[:1], keep=False)
    no = 503, b"", {"Craft-Zoo-Digest": ""}
    server.hook = lambda method, path: no if method == "DELETE" else None
    images = remote.images(small_task.train.images[1:2], keep=False)
    assert remote.classifier(NAMES).score("{}", images).shape == (1, 3)
    assert server.asked("DELETE") == 1
    assert not time.slept


@pytest.mark.parametrize(
    ("about", "sentence"),
    [
        ('"name": "x"', "describes its model in an unexpected form"),
        ('"in_flight": 1e999, "accepts": ["texts"]', "an unexpected form"),
        ('"in_flight": 1, "accepts": [[]]', "an unexpected form"),
        ('"in_flight": 1, "accepts": ["texts"], "top_k": 1e999', "an unexpected form"),
        ('"in_flight": 1, "accepts": ["texts"], "limits": [1]', "an unexpected form"),
        ('"in_flight": 1, "accepts": ["texts"], "limits": {"images": 0}', "cannot be queried"),
        (
            '"in_flight": 1, "accepts": ["texts"], "limits": {"answer_bytes": -1}',
            "cannot be queried",
        ),
        ('"in_flight": 0, "accepts": ["texts"]', "cannot be queried"),
        ('"in_flight": 1, "accepts": ["?"]', "cannot be queried"),
    ],
)
def test_a_model_that_makes_no_sense(
    about: str, sentence: str, server: Any, connect: Connect
) -> None:
    answer = f'{{"name": "x", "image_size": 8, {about}}}'.encode()
    failing(server, [(200, answer, {})], "model")
    with pytest.raises(CraftZooError, match=sentence):
        connect()


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ("[1e999, 1]", "answers class names in an unexpected form"),
        ("[4]", r"has contexts of the shape \(4,\): check its version, or ask its owner"),
        ("[-4, -256]", r"has contexts of the shape \(-4, -256\)"),
        ("[1000000, 1000000]", r"has contexts of the shape \(1000000, 1000000\)"),
    ],
)
def test_contexts_that_make_no_sense(
    shape: str, sentence: str, server: Any, connect: Connect
) -> None:
    remote = connect()
    opened = f'{{"id": "a", "template": "{{}}", "classnames": ["cat"], "shape": {shape}}}'
    failing(server, [(200, opened.encode(), {})], "classifiers")
    with pytest.raises(CraftZooError, match=sentence):
        remote.classifier(["cat"])
    assert server.asked("GET /v1/classifiers") == 0


def test_a_count_that_makes_no_sense(server: Any, connect: Connect) -> None:
    remote = connect()
    failing(server, [(200, b'{"predictions": 1e999, "scores": 1, "requests": 1}', {})], "usage")
    with pytest.raises(CraftZooError, match="reports usage in an unexpected form"):
        remote.usage()


DEEP = b"[" * 100_000


@pytest.mark.parametrize(
    "answer",
    [
        (404, b"<html>not here", {"Craft-Zoo-Digest": ""}),
        (501, b"<html>no POST", {"Craft-Zoo-Digest": ""}),
        (200, b"<html>welcome", {"Craft-Zoo-Digest": ""}),
        (200, b"[]", {}),
        (200, DEEP, {}),
        (400, DEEP, {}),
        (400, b'{"error": ' + DEEP, {}),
    ],
    ids=range(7),
)
def test_no_server_of_ours(answer: Any, server: Any, connect: Connect) -> None:
    failing(server, [answer] * 50, "model")
    with pytest.raises(CraftZooError, match=r"unlike a craft-zoo server; 5 attempts\)"):
        connect()
    assert len(server.log) == 5


def test_a_redirect_is_said(server: Any, connect: Connect) -> None:
    failing(server, [(301, b"", {"Location": "https://elsewhere/v1/model"})], "model")
    with pytest.raises(CraftZooError, match="redirects to https://elsewhere: use"):
        connect()


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("https://", "is not the URL of a server"),
        ("https://host:99999", "is not the URL of a server"),
        ("https://user:secret@host", "must hold no key"),
        ("https://host/?key=secret", "must hold no key"),
    ],
)
def test_urls(url: str, sentence: str, connect: Connect) -> None:
    with pytest.raises(CraftZooError, match=sentence) as caught:
        connect(url=url)
    assert "secret" not in str(caught.value)


def test_opened_by_name_here_and_elsewhere(
    server: Any, small_task: Task, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CRAFT_ZOO_API_KEY", "secret")
    opener = pickle.loads(pickle.dumps(functools.partial(load_vlm, f"{server.url}/")))
    remote = opener()
    assert isinstance(remote, RemoteVLM)
    assert remote.name == server.url
    limited = load_vlm(server.url, max_predictions=1)
    with pytest.raises(CraftZooError, match="limit of 1"):
        limited.classifier(NAMES).score("{}", limited.images(small_task.train.images[:2]))
    for wrong in ({"pretrained": "openai"}, {"device": "cpu"}):
        with pytest.raises(CraftZooError, match="chooses its weights and device: leave out"):
            load_vlm(server.url, **wrong)
    with pytest.raises(CraftZooError, match="on this machine and costs nothing"):
        load_vlm("craft-mini", max_predictions=3)


def test_an_adapter_finds_its_server_again(
    server: Any, connect: Connect, small_task: Task, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from craft_zoo import tune

    monkeypatch.setenv("CRAFT_ZOO_API_KEY", "secret")
    tuned = tune(connect(), small_task, method="refine", budget=2)
    tuned.adapter.save(tmp_path / "adapter")
    adapter = Adapter.load(tmp_path / "adapter")
    assert adapter.model == server.url
    predicted = adapter.predict(load_vlm(adapter.model), small_task.test.images[:3])
    expected = tuned.adapter.predict(connect(), small_task.test.images[:3])
    np.testing.assert_array_equal(predicted, expected)


def test_a_served_model_is_checked_like_a_local_one(
    vlm: OpenCLIP, connect: Callable[..., RemoteVLM]
) -> None:
    box = vlm.classifier(["cat", "dog"])
    adapter = Adapter.of(Solution(box.initial_context + 0.1), vlm, box)
    images = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3)).astype(np.uint8)
    adapter.canaries = ask_canaries(adapter, vlm, list(images))
    found = check_drift(adapter, connect())
    assert not found.changed
    assert found.differences.max() < 1e-3
