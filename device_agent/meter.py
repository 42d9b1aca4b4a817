"""External meters of a board: a command, a serial device or a page of the network that tells watts."""

import re
from typing import Any, Callable, Dict, Optional

from device_agent.line_source import LineSource, SourceFailed, open_serial, start_command
from device_agent.sensors.meter_lines import compile_pattern, parse_meter_answer, parse_meter_line

BAUD = 115200
HTTP_PERIOD_S = 0.25
"""How often a page is asked unless said. Plugs renew their value about once a second, and each ask takes some
milliseconds of a core."""

KINDS = ("command", "serial", "url")
_KEYS = {
    "command": {"pattern"},
    "serial": {"baud", "pattern"},
    "url": {"key", "period_s"},
}
_HTTP_TIMEOUT_S = 2.0
_MAX_ANSWER = 1 << 16
_MOST_OF_ANSWER = 60

Meter = Dict[str, Any]


def name_meter(meter: Meter) -> str:
    """The label of results: which of the meters that a board may have. Of a page's URL the query is left out,
    which may hold a secret."""
    kind = _find_kind(meter)
    if kind == "command":
        return "meter {}".format(meter[kind][0].rpartition("/")[2])
    if kind == "url":
        return " ".join(["meter", _strip_url(meter[kind])] + [key for key in [meter.get("key")] if key])
    return "meter {}".format(meter[kind])


def _strip_url(url: str) -> str:
    """Scheme, host and path."""
    scheme, mark, rest = url.partition("//")
    host, slash, path = re.split("[?#]", rest)[0].partition("/")
    return scheme + mark + host.rpartition("@")[2] + slash + path


def _find_kind(meter: Meter) -> str:
    return next(kind for kind in KINDS if meter.get(kind) is not None)


def find_fault(meter: Any) -> Optional[str]:
    """What is wrong with the `meter` of a job, None if nothing is."""
    if not isinstance(meter, dict):
        return "expected an object"
    given = {key for key, value in meter.items() if value is not None}
    kinds = sorted(given & set(KINDS))
    if len(kinds) != 1:
        return "expected one of command, serial and url"
    kind = kinds[0]
    unknown = sorted(given - {kind} - _KEYS[kind])
    if unknown:
        return "{}: not known beside {}".format(unknown[0], kind)
    return _find_type_fault(kind, meter)


def _find_type_fault(kind: str, meter: Meter) -> Optional[str]:
    command, baud, period_s = meter.get("command"), meter.get("baud", BAUD), meter.get("period_s", 1)
    if kind == "command":
        is_list = isinstance(command, list) and bool(command)
        if not is_list or not all(isinstance(word, str) and word for word in command or ()):
            return "command: expected a list of words"
    elif not isinstance(meter[kind], str):
        return "{}: expected a text".format(kind)
    for key in ("pattern", "key"):
        if not isinstance(meter.get(key), (str, type(None))):
            return "{}: expected a text".format(key)
    if baud is not None and not isinstance(baud, int):
        return "baud: expected a whole number"
    if period_s is not None and not (isinstance(period_s, (int, float)) and 0.01 <= period_s <= 60):
        return "period_s: expected 0.01 to 60"
    try:
        compile_pattern(meter.get("pattern"))
    except ValueError as error:
        return "pattern: {}".format(error)
    return None


def open_lines(meter: Meter) -> LineSource:
    """The lines of a command or a serial device. Raises SourceFailed."""
    pattern = compile_pattern(meter.get("pattern"))
    if meter.get("command"):
        return LineSource(start_command(meter["command"]), lambda line: parse_meter_line(line, pattern))
    link = open_serial(meter["serial"], meter.get("baud") or BAUD)
    return LineSource(link, lambda line: parse_meter_line(line, pattern), is_device=True)


def _tell_status(error: Any) -> Optional[str]:
    """The status of a page that answers with an error (HTTP 404 Not Found); without the URL that urllib adds
    where it does not follow a redirection."""
    code = getattr(error, "code", None)
    return None if code is None else "HTTP {} {}".format(code, str(error.reason).partition(" - ")[0])


def make_asker(meter: Meter) -> Callable[[], float]:
    """What asks the page once for its watts; it raises SourceFailed where it tells none.

    No proxy is asked: a meter stands in the same network.
    """
    import urllib.request
    from http.client import HTTPException, InvalidURL
    from urllib.error import URLError

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    url, key = meter["url"], meter.get("key")
    if not url.startswith(("http://", "https://")):
        raise SourceFailed("expected http:// or https://")

    def ask_w() -> float:
        try:
            with opener.open(url, timeout=_HTTP_TIMEOUT_S) as answer:
                text = answer.read(_MAX_ANSWER).decode("utf-8", "replace")
        except URLError as error:  # its reason is an error of the system, or words of the page's server
            reason = getattr(error.reason, "strerror", None) or error.reason
            raise SourceFailed(_tell_status(error) or str(reason)) from error
        except (InvalidURL, ValueError) as error:  # their messages hold the URL
            raise SourceFailed("no page can have its URL") from error
        except (OSError, HTTPException) as error:
            raise SourceFailed(str(error) or type(error).__name__) from error
        watts = parse_meter_answer(text, key)
        if watts is None:
            told = text.strip()[:_MOST_OF_ANSWER] or "nothing"
            raise SourceFailed("{} in: {}".format("no watts at " + key if key else "no number", told))
        return watts

    return ask_w
