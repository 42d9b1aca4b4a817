"""What else a board does: other programs, a desktop, upgrades, swapping; and how much room is left."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from host.readiness.finding import BoardFinding, Look

IDLE_CORES = 0.25
"""What an idle system computes, and our own look at it, stays below."""

SWAPPED_MB = 16.0
LEAST_SHARE = 0.15  # what the agent keeps free when it opens models beside each other
LEAST_MB = 256.0
LEAST_DISK = 512 * 1024**2


def judge_load(look: Look) -> Iterator[BoardFinding]:
    yield _judge_run(look)
    yield _judge_busy(look)
    yield _judge_desktop(look)
    yield _judge_upgrades(look)
    yield _judge_swap(look)
    yield _judge_zram(look)
    yield _judge_memory(look)
    yield _judge_disk(look)


def _judge_run(look: Look) -> BoardFinding:
    if look.now.measuring is None:
        return look.fine("lock", "nobody measures")
    advice = "Wait for its end: two runs at once would measure each other."
    return look.wrong("lock", f"measures now: {look.now.measuring}", advice)


def _judge_busy(look: Look) -> BoardFinding:
    busy = look.now.busy_cores
    if busy is None:
        return look.unknown("other load", "not told")
    who = ", ".join(f"{one.name} {one.cores:.2f}" for one in look.now.busiest)
    found = f"{busy:.2f} cores busy" + (f": {who}" if who else "")
    if busy < IDLE_CORES or look.now.measuring is not None:
        return look.fine("other load", found)
    return look.wrong("other load", found, "Other programs compute: end them.", "top -b -n 1 | head -15")


def _judge_desktop(look: Look) -> BoardFinding:
    if not look.now.desktop:
        return look.fine("desktop", "none runs")
    return look.wrong(
        "desktop",
        ", ".join(look.now.desktop),
        "It takes memory, the GPU and moments of the processor. This ends it until the next start; "
        "`sudo systemctl set-default multi-user.target` for good.",
        "sudo systemctl isolate multi-user.target",
    )


def _judge_upgrades(look: Look) -> BoardFinding:
    timers = shlex.join(look.now.upgrade_timers)
    if look.now.installing:
        found = f"{', '.join(look.now.installing)} at work"
        stop = f"sudo systemctl stop {timers}" if timers else None
        return look.wrong("upgrades", found, "Wait for its end; the timers may start another.", stop)
    if timers:
        return look.fine(
            "upgrades", "none at work", f"They may start by themselves: sudo systemctl stop {timers}"
        )
    return look.fine("upgrades", "none at work")


def _judge_swap(look: Look) -> BoardFinding:
    disks = [one for one in look.now.swaps if not one.is_zram]
    used = sum(one.used_mb for one in disks)
    if used >= SWAPPED_MB:
        return look.wrong(
            "swap",
            f"{used:,.0f} MiB in use",
            "What was swapped out is read back from the disk while we measure.",
            "sudo swapoff -a && sudo swapon -a",
        )
    return look.fine("swap", "none" if not disks else f"{used:,.0f} MiB in use")


def _judge_zram(look: Look) -> BoardFinding:
    """Compressed memory: the processor works for it as soon as memory gets short."""
    found = [one for one in look.now.swaps if one.is_zram]
    if not found:
        return look.fine("zram", "none")
    sizes = sum(one.size_mb for one in found), sum(one.used_mb for one in found)
    for_good = " For good: `sudo systemctl disable nvzramconfig`." if look.facts.l4t is not None else ""
    return look.wrong(
        "zram",
        f"{sizes[0]:,.0f} MiB, {sizes[1]:,.0f} MiB in use",
        "Memory is compressed by the processor when it gets short. "
        f"This ends it until the next start.{for_good}",
        shlex.join(["sudo", "swapoff", *(one.name for one in found)]),
    )


def _judge_memory(look: Look) -> BoardFinding:
    total, free = look.now.memory_mb, look.now.available_mb
    if total is None or free is None:
        return look.unknown("memory", "not told")
    found = f"{free:,.0f} of {total:,.0f} MiB available"
    if free >= max(LEAST_MB, LEAST_SHARE * total):
        return look.fine("memory", found)
    advice = "Models are opened one at a time, or not at all: end what holds it."
    return look.wrong("memory", found, advice, "ps -eo rss,comm --sort=-rss | head")


def _judge_disk(look: Look) -> BoardFinding:
    free = look.facts.free_bytes
    if free is None:
        return look.unknown("disk", "not told")
    found = f"{free / 1024**2:,.0f} MiB free for {look.device.work_folder}"
    if free >= LEAST_DISK:
        return look.fine("disk", found)
    advice = "Models, packages and journals need room; or give it a `work_folder:` on another disk."
    return look.wrong("disk", found, advice, f"bench clean --device {look.device.name}")
