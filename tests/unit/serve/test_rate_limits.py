"""Rates per key, on a clock that the test moves."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from babelclip.errors import ConfigError
from babelclip.serve.access.rate_limits import MINUTE, RateLimiter, Rates, RemainingQuota, SlidingWindow
from babelclip.serve.errors import RateExceeded, TooManyAtOnce, TooManyRequests, TooManyTokens


class Clock:
    """Seconds that move when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiter(clock: Clock) -> RateLimiter:
    return RateLimiter(clock)


def test_requests_in_a_minute(limiter: RateLimiter, clock: Clock) -> None:
    rates = Rates(requests_per_minute=3)
    for second in range(3):
        clock.now = 1000.5 + second
        limiter.acquire("a", rates).release()
    with pytest.raises(TooManyRequests, match="3 requests a minute; try again in 59 s") as caught:
        limiter.acquire("a", rates)
    refusal = caught.value
    assert (refusal.status, refusal.code, refusal.retry_after) == (429, "RATE_REQUEST_LIMIT_EXCEEDED", 59)
    assert refusal.headers == {"X-RateLimit-Remaining-Requests": "0", "Retry-After": "59"}
    limiter.acquire("b", rates).release()  # each key has its own
    clock.now += 59
    limiter.acquire("a", rates).release()
    with pytest.raises(TooManyRequests):
        limiter.acquire("a", rates)


def test_tokens_in_a_minute(limiter: RateLimiter, clock: Clock) -> None:
    rates = Rates(tokens_per_minute=10_000)
    with limiter.acquire("a", rates) as lease:
        assert lease.take_tokens(4_000).tokens == 6_000
        clock.now += 10
        assert lease.take_tokens(4_000).tokens == 2_000
        with pytest.raises(TooManyTokens, match=r"costs 4,000 tokens .* 10,000 a minute; try again in 51 s") as caught:
            lease.take_tokens(4_000)
        assert caught.value.code == "RATE_TOKEN_LIMIT_EXCEEDED"
        assert caught.value.headers == {"X-RateLimit-Remaining-Tokens": "2000", "Retry-After": "51"}
        assert lease.take_tokens(2_000).tokens == 0  # the refused ones were not counted
        clock.now += 51
        assert lease.take_tokens(4_000).tokens == 0


def test_what_never_fits_is_not_told_to_wait(limiter: RateLimiter) -> None:
    with (
        limiter.acquire("a", Rates(tokens_per_minute=3_999)) as lease,
        pytest.raises(TooManyTokens, match="send less in one request") as caught,
    ):
        lease.take_tokens(4_000)
    assert caught.value.retry_after is None
    assert "Retry-After" not in caught.value.headers


def test_requests_under_way(limiter: RateLimiter) -> None:
    rates = Rates(concurrency=2, requests_per_minute=30)
    first, second = limiter.acquire("a", rates), limiter.acquire("a", rates)
    with pytest.raises(TooManyAtOnce, match="2 requests under way") as caught:
        limiter.acquire("a", rates)
    assert (caught.value.code, caught.value.retry_after) == ("RATE_CONCURRENCY_LIMIT_EXCEEDED", 1)
    assert caught.value.headers["X-RateLimit-Remaining-Requests"] == "28"  # refused at the door: not counted
    first.release()
    first.release()  # a second time changes nothing
    third = limiter.acquire("a", rates)
    with pytest.raises(TooManyAtOnce):
        limiter.acquire("a", rates)
    second.release()
    third.release()


def test_a_request_that_fails_has_left(limiter: RateLimiter) -> None:
    rates = Rates(concurrency=1)
    with pytest.raises(RuntimeError), limiter.acquire("a", rates):
        raise RuntimeError
    limiter.acquire("a", rates)


def test_a_changed_limit_counts_from_the_next_request(limiter: RateLimiter) -> None:
    limiter.acquire("a", Rates(requests_per_minute=5))
    limiter.acquire("a", Rates(requests_per_minute=5))
    with pytest.raises(TooManyRequests) as caught:
        limiter.acquire("a", Rates(requests_per_minute=1))
    assert caught.value.headers["X-RateLimit-Remaining-Requests"] == "0"
    limiter.acquire("a", Rates(requests_per_minute=3))


def test_headers_name_the_limits_that_there_are(limiter: RateLimiter) -> None:
    with limiter.acquire("a", Rates()) as lease:
        assert lease.take_tokens(10**12).headers() == {}
    with limiter.acquire("b", Rates(requests_per_minute=7, tokens_per_minute=9)) as lease:
        lease.take_tokens(4)
        assert lease.remaining() == RemainingQuota(requests=6, tokens=5)
        assert lease.remaining().headers() == {
            "X-RateLimit-Remaining-Requests": "6",
            "X-RateLimit-Remaining-Tokens": "5",
        }


@pytest.mark.parametrize("limit", [0, -1, 10**16])
def test_limits_out_of_range(limit: int) -> None:
    with pytest.raises(ConfigError, match="concurrency is from 1"):
        Rates(concurrency=limit)


@given(
    steps=st.lists(st.tuples(st.floats(0, 40), st.integers(0, 60)), max_size=60),
    start=st.floats(0, 10**6),
)
def test_no_minute_gets_more_than_the_limit_and_waiting_helps(steps: list[tuple[float, int]], start: float) -> None:
    limit, clock = 100, Clock()
    clock.now = start
    limiter, rates = RateLimiter(clock), Rates(tokens_per_minute=limit)
    passed: list[tuple[float, int]] = []
    for pause, tokens in steps:
        clock.now += pause
        wait: int | None = 0
        try:
            limiter.take_tokens("a", rates, tokens)
        except TooManyTokens as refusal:
            wait = refusal.retry_after
        assert wait is not None
        assert 0 <= wait <= MINUTE + 1
        if wait:
            clock.now += wait
            limiter.take_tokens("a", rates, tokens)
        passed.append((clock.now, tokens))
        assert sum(amount for moment, amount in passed if moment > clock.now - MINUTE) <= limit


def test_a_window_stays_small() -> None:
    window = SlidingWindow()
    for step in range(10_000):
        window.forget(step / 10)
        window.add(1, step / 10)
    assert len(window._seconds) <= MINUTE + 2
    assert 600 <= window.used <= 610


def test_threads_do_not_get_more_than_the_limit(limiter: RateLimiter) -> None:
    rates, passed = Rates(requests_per_minute=100, concurrency=100), []

    def send() -> None:
        for _ in range(50):
            try:
                passed.append(limiter.acquire("a", rates))
            except RateExceeded:
                continue

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(passed) == 100
