"""Whether a board slows itself down, or is about to: throttling, supply, heat; and whether its date fits."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from host.readiness.finding import BoardFinding, Look

NEAR_TRIP_C = 15.0
HOT_C = 65.0
"""A board without trip points that is so hot while it idles has no room left under load."""

MOST_AHEAD_S = 30.0

# raspberrypi/documentation, "vcgencmd get_throttled"; 16 bits higher the same since the board was started.
_LOW_VOLTAGE = 0x1
_SLOWED = {0x2: "clock capped", 0x4: "throttled", 0x8: "soft temperature limit"}
_SINCE_START = 16


def judge_health(look: Look) -> Iterator[BoardFinding]:
    yield _judge_throttling(look)
    yield from _judge_voltage(look)
    yield from _judge_current(look)
    yield _judge_heat(look)
    yield _judge_date(look)


def _judge_throttling(look: Look) -> BoardFinding:
    bits, events = look.now.throttle_bits, look.now.throttle_events
    if bits is None and events is None:
        asked = next((one for one in look.facts.root_would_add if "vcgencmd" in one), None)
        command = "sudo usermod -aG video $USER" if asked else None
        return look.unknown("throttling", "not told", asked, command)
    now = [word for bit, word in _SLOWED.items() if (bits or 0) & bit]
    if now:
        return look.wrong("throttling", f"{', '.join(now)} now", "Cool the board and let it rest.")
    since = [word for bit, word in _SLOWED.items() if (bits or 0) >> _SINCE_START & bit]
    since += [f"{events} events"] if events else []
    if since:
        advice = (
            "It slowed down under an earlier load, and will again: cool it. A restart clears what is told."
        )
        return look.wrong("throttling", f"{', '.join(since)} since its start", advice, "sudo reboot")
    return look.fine("throttling", "none since its start")


def _judge_voltage(look: Look) -> Iterator[BoardFinding]:
    """Of a Raspberry Pi only."""
    bits, alarm = look.now.throttle_bits, look.now.voltage_alarm
    if bits is None and alarm is None:
        return
    supply = "Its supply or cable is too weak: the maker's own (a Pi 4 wants 5.1 V 3 A, a Pi 5 5.1 V 5 A)."
    if alarm or (bits or 0) & _LOW_VOLTAGE:
        yield look.wrong("supply", "too little voltage now", supply)
    elif (bits or 0) >> _SINCE_START & _LOW_VOLTAGE:
        yield look.wrong(
            "supply", "too little voltage since its start", f"{supply} A restart clears this.", "sudo reboot"
        )
    else:
        yield look.fine("supply", "enough voltage")


def _judge_current(look: Look) -> Iterator[BoardFinding]:
    """Of a Jetson only."""
    events = look.now.overcurrent_events
    if events:
        advice = "It drew too much current and slowed down: a stronger supply, or a lower power mode."
        yield look.wrong("supply", f"{events} over-current events since its start", advice, "sudo reboot")
    elif events == 0:
        yield look.fine("supply", "no over-current event since its start")


def _judge_heat(look: Look) -> BoardFinding:
    """The zone nearest to the temperature at which the kernel slows it down; else the processor alone."""
    margins = [
        (trip.temperature_c - zone.temperature_c, zone.name, zone.temperature_c, trip.temperature_c)
        for zone in look.facts.thermal_zones
        for trip in zone.trips
        if zone.temperature_c is not None and trip.kind == "passive"
    ]
    if margins and min(margins)[0] < NEAR_TRIP_C:
        _, name, degrees, trip_c = min(margins)
        found = f"{name} at {degrees:.0f} °C, slowed down from {trip_c:.0f} °C on"
        return look.wrong("temperature", found, "Let it cool, and give it a fan or a heat sink.")
    degrees_now = look.facts.temperature_c
    if degrees_now is None:
        return look.unknown("temperature", "not told")
    if not margins and degrees_now >= HOT_C:
        found = f"{degrees_now:.0f} °C"
        return look.wrong("temperature", found, "Let it cool, and give it a fan or a heat sink.")
    return look.fine("temperature", f"{degrees_now:.0f} °C")


def _judge_date(look: Look) -> BoardFinding:
    ahead = look.seen.ahead_s
    if abs(ahead) - look.seen.doubt_s <= MOST_AHEAD_S:
        return look.fine("clock", "agrees with this machine's")
    found = f"{_say_span(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} this machine"
    right = datetime.fromtimestamp(look.now.time - ahead, UTC)
    command = f"sudo timedatectl set-ntp true   # or: sudo date -u -s '{right:%Y-%m-%d %H:%M:%S}'"
    return look.wrong("clock", found, "Times in logs and certificates are wrong.", command)


def _say_span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return str(timedelta(seconds=round(seconds)))
