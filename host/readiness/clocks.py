"""Whether the clocks of a board stay where they are: governor, limits, power mode, jetson_clocks."""

from __future__ import annotations

from collections.abc import Iterator

from host.readiness.finding import BoardFinding, Look

NEARLY = 0.99
"""What a clock may be below its highest: drivers round."""

_CPU = "/sys/devices/system/cpu"


def judge_clocks(look: Look) -> Iterator[BoardFinding]:
    yield _judge_governor(look)
    yield _judge_limits(look)
    yield from _judge_cores(look)
    if look.facts.l4t is not None or look.facts.nvpmodel is not None or look.now.fastest_mode is not None:
        yield _judge_mode(look)
        yield _judge_held(look)


def _judge_governor(look: Look) -> BoardFinding:
    told = sorted({cluster.governor for cluster in look.facts.clusters if cluster.governor})
    found = ", ".join(dict.fromkeys(word for governors in told for word in governors.split(",")))
    if not found:
        return look.unknown("governor", "none told", "Without cpufreq, as in a virtual machine, none is set.")
    if found == "performance":
        return look.fine("governor", found)
    return look.wrong(
        "governor",
        found,
        "Clocks follow the load, so that a short inference is measured at a low clock.",
        f"echo performance | sudo tee {_CPU}/cpu*/cpufreq/scaling_governor",
        can_fix=True,
    )


def _judge_limits(look: Look) -> BoardFinding:
    """Clocks whose highest is not allowed; on a Jetson that is what its power mode does."""
    known = [one for one in look.facts.clusters if one.max_mhz and one.allowed_max_mhz]
    if not known:
        return look.unknown("clock limits", "none told")
    capped = [
        (one.cores[0], one.allowed_max_mhz, one.max_mhz)
        for one in known
        if one.allowed_max_mhz and one.max_mhz and one.allowed_max_mhz < NEARLY * one.max_mhz
    ]
    if not capped:
        return look.fine("clock limits", "up to " + ", ".join(f"{one.max_mhz:,.0f} MHz" for one in known))
    found = ", ".join(f"core {core}: {low:,.0f} of {high:,.0f} MHz" for core, low, high in capped)
    if look.now.fastest_mode is not None:
        return look.wrong("clock limits", found, "The power mode keeps the clocks down: see there.")
    commands = " && ".join(
        f"echo {high * 1000:.0f} | sudo tee {_CPU}/cpu{core}/cpufreq/scaling_max_freq"
        for core, _, high in capped
    )
    return look.wrong(
        "clock limits", found, "Somebody, or a cooling driver, keeps the clocks down.", commands
    )


def _judge_cores(look: Look) -> Iterator[BoardFinding]:
    offline = look.facts.offline_cores
    if not offline or look.facts.machine in ("x86_64", "i686"):
        return  # on x86 the second threads of cores are often off on purpose
    found = f"offline: {', '.join(map(str, offline))}"
    if look.now.fastest_mode is not None:
        yield look.wrong("cores", found, "The power mode keeps cores off: see there.")
    else:
        command = f"echo 1 | sudo tee {_CPU}/cpu{offline[0]}/online"
        yield look.wrong("cores", found, "Cores are switched off.", command)


def _judge_mode(look: Look) -> BoardFinding:
    mode, fastest = look.facts.nvpmodel, look.now.fastest_mode
    if mode is None:
        return look.unknown("power mode", "nvpmodel does not tell", command="sudo nvpmodel -q")
    found = mode.mode or f"mode {mode.mode_id}"
    if fastest is None:
        return look.unknown("power mode", found, "No mode of this board is called MAXN.", "sudo nvpmodel -q")
    if found == fastest.mode or mode.mode_id == fastest.mode_id:
        return look.fine("power mode", found)
    advice = f"{fastest.mode} has no limits."
    if fastest.asks_for_restart:
        advice += " The board restarts to get there, so --fix leaves it alone."
    command = f"sudo nvpmodel -m {fastest.mode_id}"
    return look.wrong("power mode", found, advice, command, can_fix=not fastest.asks_for_restart)


def _judge_held(look: Look) -> BoardFinding:
    clocks = look.facts.jetson_clocks
    if clocks is None or clocks.pinned is None:
        return look.unknown("jetson_clocks", "only root may ask", command="sudo jetson_clocks --show")
    if clocks.pinned:
        return look.fine("jetson_clocks", "holds all clocks")
    return look.wrong(
        "jetson_clocks",
        "off",
        "The clocks of processor, GPU and memory follow the load.",
        "sudo jetson_clocks",
        can_fix=True,
    )
