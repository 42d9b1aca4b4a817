"""One line of tegrastats, of any release from R21 (TK1) to R39 (Orin, Thor).

Order, capitals and units vary by release and board, so every value is found by its name. A line may be cut
at either end, coloured or interleaved with another: a value counts only where it is whole.
"""

import re
from typing import Any, Dict, List, Match, Optional

from device_agent.sensors.terminal import LOST, strip_escapes

Fields = Dict[str, Any]

# Characters stand spelled out: in text, \d and \w also match the digits and letters of other scripts.
_WORD = "[A-Za-z0-9_]"
_INT = "-?[0-9]{1,9}"
# A lone letter was the start of the name that follows: `L CPU@36.5C`.
_NAME = r"(?<!\S)(?<!\s[A-Za-z]\s)(?P<name>[A-Za-z][A-Za-z0-9_.+-]*)"
# What follows a whole number without a unit: space and a name, or an end that is not a cut one. Quotes and
# brackets come from pasted text and source code, an ellipsis from people.
_AFTER = r"(?:[`'\")]+[,;]?(?:\s|\Z)|\s)\s*(?:[A-Za-z]|\.\.\.|\u2026|\Z)"

_INNER_RETURN = re.compile(r"\r(?=[^\r\n])")

_MEMORY = r"{0}\s+([0-9]{{1,9}})/(?:([0-9]{{1,9}})MB(?!{1})|[0-9]*M?\Z)"
# IRAM (Nano, TX1) is in kB: where the I may be cut off and the unit is, nothing tells it apart.
_RAM = re.compile(_MEMORY.format(r"(?:(?<![A-Za-z_])RAM(?=\s+[0-9]+/[0-9]+M)|(?<=\s)RAM)", _WORD))
# Right behind a cut word too: `POM_5V_GPU 78/78 PRAM 936/3964MB`. A cut escape before it takes the R with it.
_NEXT_RAM = re.compile(r"AM\s+[0-9]+/[0-9]+MB")
_SWAP = re.compile(_MEMORY.format("(?<![A-Za-z_])SWAP", _WORD))

# `cpu [0%,off]@2218` up to R24 and again on Thor with R39, `CPU [0%@729,off]` since R28.
_CPU = re.compile(
    r"(?<!{0})CPU\s*\[([^\[\]]*)\](?:@({1})(?={2})|@-?[0-9]*\Z|(?![A-Za-z0-9_,%@]))".format(
        _WORD, _INT, _AFTER
    ),
    re.IGNORECASE,
)
_CORE = re.compile(r"\s*(?:off|([0-9]{{1,3}})%(?:@({0}))?)\s*\Z".format(_INT), re.IGNORECASE)

# Only lines of R28 on TX1 end with a clock, that of GR3D: any other clock at the very end may be cut.
_ENGINE = re.compile(
    r"(?<!{0})(?P<name>EMC|GR3D)(?P<new>[0-9]?_FREQ)?\s+(?:(?P<load>[0-9]{{1,3}})%(?![^\s@`'\")*]))?"
    r"(?:@(?:\[(?P<list>[-0-9,\s]*)\](?![A-Za-z0-9_,])|(?P<clock>{1})(?={2}|(?P<end>\Z))))?".format(
        _WORD, _INT, _AFTER
    )
)

_SECOND_CLUSTER = re.compile("GR3D2|2_FREQ|GR3D.+GR3D", re.DOTALL)

_DEGREES = "-?[0-9]{1,6}(?:\\.[0-9]{1,9})?"
_TEMPERATURE = re.compile(r"{0}@({1})C(?:/({1})C)?(?!{2}|\.[0-9])".format(_NAME, _DEGREES, _WORD))
_DEAD_SENSOR_C = -256  # Orin with R35 says so of a GPU or CV that sleeps

_UNIT_RAIL = re.compile(r"{0}\s+({1})mW(?:/({1})mW)?(?:/({1})mW)?(?!{2})".format(_NAME, _INT, _WORD))
# Up to R32 there is no unit, the names are in capitals, and a line ends with an average. Behind a clock
# stands its zone.
_BARE_RAIL = re.compile(
    r"(?<!\S)(?<![0-9]:[0-9][0-9] )(?P<name>[A-Z][A-Z0-9_]*)\s+({0})/(?:({0})(?={1}|\Z)|-?\Z)".format(
        _INT, _AFTER
    )
)
_LONE_RAIL = re.compile(r"(?<!\S)(?P<name>(?:VDD|VIN|POM)[A-Z0-9_]*)\s+({0})(?={1})".format(_INT, _AFTER))
# NC is a channel that is not connected (AGX Orin with R35).
_NO_RAILS = ("NC", "RAM", "SWAP", "IRAM")

# A line opens with RAM or a time. A name at the very start is what is left of a line, so it counts only
# where it is no rest of a longer one: `D_SOC` is none, and `GPU` may have been `POM_5V_GPU`.
_WHOLE_RAIL = re.compile(r"(?:VDD_|VDDQ_|VDDRQ|VIN|POM_|SYS5V)|GPU\s+\S+\s+CPU\s")
_WHOLE_SENSOR = re.compile(
    r"(?:[BLM]?CPU|cpu|GPU|gpu|(?:SOC|soc|CV|cv)[0-9]+|tj|AO|AUX|PLL|PMIC|[Tt]board|[Tt]diode|thermal)@"
)

# R35 and later open with `05-13-2026 12:04:03`; the other forms come from `ts`, journald and loggers.
_CLOCK = r"[0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.,][0-9]{1,9})?"
_TIMES = (
    "[0-9]{2}[-/][0-9]{2}[-/][0-9]{4} " + _CLOCK,
    "[0-9]{4}[-/][0-9]{2}[-/][0-9]{2}[ T]" + _CLOCK + "(?:Z|[+-][0-9]{2}:?[0-9]{2})?",
    "(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) )?(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ 0-9][0-9] "
    + _CLOCK
    + "(?:(?: [A-Z]{3,4})? [0-9]{4})?",
    r"[0-9]{10}(?:\.[0-9]{1,9})?",
)
_TIME = re.compile(r"(?<![A-Za-z0-9:./-])({})(?=[\s\]):,])".format("|".join(_TIMES)))


def parse_line(line: str) -> Fields:
    """What a line says, under the same keys for every release; nulls and empty containers for what it does
    not say.

    `cpu` has [load %, MHz] for each core and [null, null] for one that is offline, `temps` is in °C, `rails`
    in mW. Hand the line over with its newline where it has one: that shows the last number to be whole.
    Of several samples in one line the first counts.
    """
    text = _clean(line)
    sample = _cut_sample(text)
    fields = _parse_memory(sample)
    fields["cpu"] = _parse_cores(sample)
    fields.update(_parse_engines(sample))
    fields.update(_parse_temperatures(sample))
    fields["rails"] = _parse_rails(sample)
    # A date alone is the output of another program.
    is_readable = any(value not in (None, [], {}) for value in fields.values())
    fields["timestamp"] = _parse_time(text) if is_readable else None
    return fields


def _clean(line: str) -> str:
    """The line without colours; a carriage return or NUL inside it is garbage that no value spans."""
    text = strip_escapes(line, LOST)
    return _INNER_RETURN.sub(LOST, text).replace("\0", LOST)


def _cut_sample(text: str) -> str:
    """From the first RAM to the next one, where two processes wrote into one line; all where there is none.

    The characters around it stay: they show whether its first name and its last number are whole.
    """
    first = _RAM.search(text)
    following = _NEXT_RAM.search(text, first.end() if first else 0)
    start = max(first.start() - 1, 0) if first else 0
    return text[start : following.start() + 1 if following else len(text)]


def _parse_time(text: str) -> Optional[str]:
    """The time right before RAM, as it is printed; without RAM only one that opens the line."""
    ram = _RAM.search(text)
    if ram:
        found = _TIME.findall(text[: ram.start()])
        return str(found[-1]) if found else None
    opening = _TIME.match(text, len(text) - len(text.lstrip(" \t[(")))
    return opening.group(1) if opening else None


def _parse_memory(text: str) -> Fields:
    fields = {}  # type: Fields
    for name, pattern in (("ram", _RAM), ("swap", _SWAP)):
        match = pattern.search(text)
        fields[name + "_used_mb"] = _read_int(match.group(1)) if match else None
        fields[name + "_total_mb"] = _read_int(match.group(2)) if match else None
    return fields


def _parse_cores(text: str) -> List[List[Optional[int]]]:
    """Load and clock of each core; empty where one is unreadable: the others would not be told apart."""
    match = _CPU.search(text)
    cores = [_CORE.match(word) for word in match.group(1).split(",")] if match else []
    shared = _read_clock(match.group(2)) if match else None
    told = [_read_core(core, shared) for core in cores if core]
    return told if len(told) == len(cores) else []


def _read_core(core: Match[str], shared: Optional[int]) -> List[Optional[int]]:
    load = _read_int(core.group(1))
    own = _read_clock(core.group(2))
    return [load, None if load is None else shared if own is None else own]


def _parse_engines(text: str) -> Fields:
    """Load and clocks of the GPU and of the memory controller.

    A GPU of two clusters has a token for each (GR3D_FREQ and GR3D2_FREQ, R35.1) or a list of clocks.
    """
    found = list(_ENGINE.finditer(text))
    gpu = [match for match in found if match.group("name") == "GR3D"]
    emc = [match for match in found if match.group("name") == "EMC"]
    clocks = _read_gpu_clocks(text, gpu)
    memory_clocks = [clock for match in emc for clock in _read_clocks(match)]
    return {
        "gpu_load_pct": _read_load(gpu),
        "gpu_freq_mhz": max(clocks) if clocks else None,
        "gpu_freqs_mhz": clocks,
        "emc_load_pct": _read_load(emc),
        "emc_freq_mhz": memory_clocks[0] if memory_clocks else None,
    }


def _read_gpu_clocks(text: str, tokens: List[Match[str]]) -> List[int]:
    """Of all clusters or of none: where one is broken, the highest of the others is not that of the GPU."""
    if _SECOND_CLUSTER.search(text):
        broken = [token for token in tokens if not (_read_clocks(token) or _tells_only_load(text, token))]
        if broken or len(tokens) < 2:
            return []
    return [clock for token in tokens for clock in _read_clocks(token)]


def _tells_only_load(text: str, token: Match[str]) -> bool:
    return token.group("load") is not None and bool(re.match(r"\s+(?![\s@])", text[token.end() :]))


def _read_load(tokens: List[Match[str]]) -> Optional[int]:
    told = [_read_int(token.group("load")) for token in tokens if token.group("load")]
    return told[0] if told else None


def _read_clocks(token: Match[str]) -> List[int]:
    is_old_gpu = token.group("name") == "GR3D" and token.group("new") is None
    if token.group("end") is not None and not is_old_gpu:
        return []
    words = [word.strip() for word in (token.group("list") or token.group("clock") or "").split(",")]
    if not all(re.match(_INT + r"\Z", word) for word in words):
        return []  # a list that is broken in one place may lack clocks in another
    told = [_read_clock(word) for word in words]
    return [clock for clock in told if clock is not None]


def _parse_temperatures(text: str) -> Fields:
    """°C by the name of the sensor, and the highest so far where R39 prints it; null for a dead sensor."""
    temps, highest = {}, {}  # type: Dict[str, Optional[float]], Dict[str, Optional[float]]
    for match in _TEMPERATURE.finditer(text):
        name = match.group("name")
        if name not in temps and (match.start() or _WHOLE_SENSOR.match(text)):
            temps[name] = _read_degrees(match.group(2))
            if match.group(3) is not None:
                highest[name] = _read_degrees(match.group(3))
    return {"temps": temps, "temps_max": highest}


def _parse_rails(text: str) -> Fields:
    """mW by the name of the rail: now, the mean since tegrastats was started, and on R39 the highest."""
    rails = {}  # type: Dict[str, Dict[str, Optional[int]]]
    for pattern in (_UNIT_RAIL, _BARE_RAIL, _LONE_RAIL):
        for match in pattern.finditer(text):
            name = match.group("name")
            is_whole = bool(match.start() or _WHOLE_RAIL.match(text))
            if is_whole and name not in rails and name.upper() not in _NO_RAILS:
                rails[name] = _read_rail(match)
    return rails


def _read_rail(match: Match[str]) -> Dict[str, Optional[int]]:
    values = [_read_int(word) for word in match.groups()[1:]] + [None, None]
    rail = {"cur_mw": values[0], "avg_mw": values[1]}
    if values[2] is not None:
        rail["max_mw"] = values[2]
    return rail


def _read_degrees(word: str) -> Optional[float]:
    degrees = float(word)
    return None if degrees <= _DEAD_SENSOR_C else degrees


def _read_clock(word: Optional[str]) -> Optional[int]:
    """TK1 says -1 for a clock that it cannot read."""
    clock = _read_int(word)
    return None if clock is None or clock < 0 else clock


def _read_int(word: Optional[str]) -> Optional[int]:
    return int(word) if word else None
