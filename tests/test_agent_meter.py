"""External meters: what their lines and answers say, and how a device names one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from device_agent.line_source import SourceFailed
from device_agent.meter import find_fault, make_asker, name_meter
from device_agent.sensors.meter_lines import (
    Arrival,
    Reading,
    compile_pattern,
    parse_meter_answer,
    parse_meter_line,
    place_samples,
)
from host.errors import UsageError
from host.fleet.journal import Job, JobTask
from host.specs.device import Device, Meter, parse_device
from host.specs.measure import Measure

PLAIN = compile_pattern(None)
SHA = "a" * 64


@pytest.mark.parametrize(
    ("line", "reading"),
    [
        ("12.5 3.25", Reading(12.5, 3.25)),
        ("  1732204527.123456\t3 ", Reading(1732204527.123456, 3.0)),
        ("0 -0.04", Reading(0.0, -0.04)),
        ("1e3 4.5e-1", Reading(1000.0, 0.45)),
        (".5 5.", Reading(0.5, 5.0)),
        ("", None),
        ("3.25", None),
        ("1 2 3", None),
        ("12,5 3,25", None),
        ("12,5", None),
        ("1 3.25W", None),
        ("nan 5", None),
        ("1 nan", None),
        ("1 inf", None),
        ("1 1e9", None),  # no board draws a gigawatt
        ("١ ٢", None),
        ("1 0x10", None),
        ("1 1_0", None),
        ("seconds watts", None),
    ],
)
def test_a_line_is_seconds_and_watts_or_nothing(line: str, reading: Reading | None) -> None:
    assert parse_meter_line(line, PLAIN) == reading


def test_a_pattern_finds_the_watts_in_other_lines() -> None:
    pattern = compile_pattern(r"P=(?P<watts>\S+)W")
    assert parse_meter_line("U=5V P=3.25W", pattern) == Reading(None, 3.25)
    assert parse_meter_line("U=5V P=?W", pattern) is None
    assert parse_meter_line("U=5V", pattern) is None
    clocked = compile_pattern(r"(?P<seconds>\d+) .*?(?P<watts>\d+)$|(?P<other>x)")
    assert parse_meter_line("17 power 4", clocked) == Reading(17.0, 4.0)
    assert parse_meter_line("x", clocked) is None


@pytest.mark.parametrize("pattern", ["(", r"(?P<power>\d+)"])
def test_a_pattern_that_is_no_use_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="pattern"):
        compile_pattern(pattern)


@pytest.mark.parametrize(
    ("text", "key", "watts"),
    [
        ("4.5", None, 4.5),
        (" 4.5\n", None, 4.5),
        ('"4.5"', None, 4.5),
        ('{"apower": 7}', "apower", 7.0),
        ('{"a": [{"b": 2.5}]}', "a.0.b", 2.5),
        ('{"a": [1]}', "a.1", None),
        ('{"a": [1]}', "a.b", None),
        ('{"apower": null}', "apower", None),
        ('{"apower": true}', "apower", None),
        ('{"apower": NaN}', "apower", None),
        ('{"apower": 1e999}', "apower", None),
        (f'{{"apower": {"9" * 400}}}', "apower", None),
        ('{"apower": "4.5 W"}', "apower", None),
        ('{"apower": 7}', None, None),
        ('{"apower": 7}', "power", None),
        ("<html>", "apower", None),
        ("[" * 60000, "apower", None),
        ('{"a":' * 10000, "apower", None),
        ("", None, None),
    ],
)
def test_an_answer_is_a_number_or_nothing(text: str, key: str | None, watts: float | None) -> None:
    assert parse_meter_answer(text, key) == watts


@given(st.text(max_size=40), st.text(max_size=10))
def test_no_text_breaks_a_parser(text: str, key: str) -> None:
    parse_meter_line(text, PLAIN)
    parse_meter_answer(text, key)


def arrive(*told: tuple[float, float | None, float | None]) -> list[Arrival]:
    return [Arrival(*one) for one in told]


def test_a_meters_own_clock_tells_how_far_apart_its_values_are() -> None:
    late = arrive((100.2, 7.0, 1.0), (101.0, 8.0, 2.0), (102.3, 9.0, 3.0), (103.1, 10.0, 4.0))
    placed = place_samples(late)
    assert [watts for _, watts in placed] == [1.0, 2.0, 3.0, 4.0]
    assert [at for at, _ in placed] == [pytest.approx(100.0 + at) for at in range(4)]


@pytest.mark.parametrize(
    "own",
    [
        [7000.0, 8000.0, 9000.0, 10000.0],  # milliseconds
        [7.0, 8.0, 8.0, 9.0],  # stands still
        [7.0, 8.0, 1.0, 2.0],  # was set back
        [7.0, 8.0, 3600.0, 3601.0],  # was set forward
        [7.0, 8.2, 9.4, 10.6],  # is a fifth too fast
        [7.0, None, 9.0, 10.0],  # a line without it
        [None, None, None, None],
    ],
)
def test_a_clock_that_is_none_of_seconds_does_not_count(own: list[float | None]) -> None:
    came = arrive(*((100.0 + at, seconds, 5.0) for at, seconds in enumerate(own)))
    assert place_samples(came) == [(100.0 + at, 5.0) for at in range(4)]


def test_values_that_failed_to_come_keep_their_place() -> None:
    assert place_samples(arrive((1.0, None, 5.0), (2.0, None, None))) == [(1.0, 5.0), (2.0, None)]
    assert place_samples([]) == []


@pytest.mark.parametrize(
    ("meter", "name"),
    [
        ({"command": ["/opt/meter/read-meter", "--channel", "2"]}, "meter read-meter"),
        ({"serial": "/dev/ttyUSB0", "baud": 9600}, "meter /dev/ttyUSB0"),
        ({"url": "http://plug/rpc", "key": "apower", "period_s": 1}, "meter http://plug/rpc apower"),
        ({"url": "http://plug/cm?cmnd=Status%208&user=admin&password=hush"}, "meter http://plug/cm"),
        ({"url": "https://ann:hush@[fe80::1]:8080?token=hush#x"}, "meter https://[fe80::1]:8080"),
        ({"url": "http://plug/a#b/?hush"}, "meter http://plug/a"),
    ],
)
def test_a_meter_is_named_in_results(meter: dict[str, Any], name: str) -> None:
    assert find_fault(meter) is None
    assert name_meter(meter) == name


FAULTY: list[tuple[Any, str]] = [
    ({}, "one of command, serial and url"),
    ({"command": ["x"], "url": "http://plug"}, "one of command, serial and url"),
    ({"command": []}, "command"),
    ({"command": ["x"], "baud": 9600}, "baud"),
    ({"serial": "/dev/ttyUSB0", "key": "apower"}, "key"),
    ({"serial": "/dev/ttyUSB0", "pattern": "("}, "pattern"),
    ({"url": "http://plug", "period_s": 0}, "period_s"),
    ({"url": "http://plug", "pattern": "(?P<watts>.)"}, "pattern"),
]


@pytest.mark.parametrize(("meter", "words"), [*FAULTY, ("x", "object"), ({"command": ["x", 1]}, "command")])
def test_a_job_with_a_faulty_meter_is_refused(meter: Any, words: str) -> None:
    assert words in (find_fault(meter) or "")


@pytest.mark.parametrize(("meter", "words"), FAULTY)
def test_a_device_with_a_faulty_meter_is_refused(meter: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Meter.model_validate(meter)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("meter", "words"),
    [
        ({"command": "read 'meter"}, "No closing quotation"),
        ({"serial": "ttyUSB0"}, "/dev/ttyUSB0"),
        ({"url": "ftp://plug"}, "http"),
        ({"url": "http://ann:secret@plug/"}, "never holds a secret"),
        ({"url": "http://plug", "watts": 3}, "watts"),
    ],
)
def test_what_a_device_says_of_its_meter_is_checked_before_a_board_hears_of_it(
    meter: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        Meter.model_validate(meter)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    "query",
    [
        "password=hush",
        "cmnd=Status%208&user=admin&password=hush",
        "a=1;Passwd=hush",
        "pw=",
        "pass",
        "token=hush",
        "access_token=hush",
        "apikey=hush",
        "api-key=hush",
        "X-API-Key=hush",
        "key=hush",
        "auth=hush",
        "client%5Fsecret=hush",
    ],
)
def test_a_secret_in_the_query_of_a_page_is_refused(query: str) -> None:
    with pytest.raises(ValidationError, match="never holds a secret; a `command` can read it"):
        Meter.model_validate({"url": f"http://plug/cm?{query}"})


@pytest.mark.parametrize("url", ["http://ann:hush@plug/", "http://plug/cm?{pass}=&password=hush"])
def test_a_secret_that_is_refused_is_not_repeated(url: str) -> None:
    document = {"name": "pi4", "host": "h", "fingerprint": "SHA256:" + "A" * 43, "meter": {"url": url}}
    with pytest.raises(UsageError, match=r"meter\.url: expected no .*never holds a secret") as refused:
        parse_device(document)
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize("query", ["cmnd=Status%208", "id=0", "monkey=1", "pass_through=1", "q=password"])
def test_a_query_without_a_secret_is_fine(query: str) -> None:
    assert Meter.model_validate({"url": f"http://plug/cm?{query}#password"}).url


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd?password=hush",
        "http://plug:port/cm?password=hush",
        "http://127.0.0.1:1/cm 8?password=hush",
        "http://127.0.0.1:1/ä?password=hush",
    ],
)
def test_a_page_that_cannot_be_asked_tells_no_secret(url: str) -> None:
    with pytest.raises(SourceFailed) as failure:
        make_asker({"url": url})()
    assert "hush" not in str(failure.value)


@pytest.mark.parametrize(
    "told",
    [
        {"command": "read-meter --name 'my meter'"},
        {"command": ["read-meter", "--name", "my meter"]},
        {"serial": "/dev/ttyUSB0", "baud": 115200, "pattern": "(?P<watts>[0-9.]+)W"},
        {"url": "http://10.0.0.9/rpc/Switch.GetStatus?id=0", "key": "apower", "period_s": 1.0},
    ],
)
def test_the_meter_of_a_device_reaches_its_job_as_the_agent_reads_it(told: dict[str, Any]) -> None:
    device = Device.model_validate(
        {"name": "pi4", "host": "h", "fingerprint": "SHA256:" + "A" * 43, "meter": told}
    )
    task = JobTask(task="t", model=SHA, feeds=SHA, runtime="onnxruntime", provider="P", threads=None, batch=1)
    job = Job(run="r", holder="me", seed=0, layer=None, measure=Measure(), tasks=(task,), meter=device.meter)
    message = job.as_message()
    assert find_fault(message["meter"]) is None
    if "command" in told:
        assert message["meter"]["command"] == ["read-meter", "--name", "my meter"]
