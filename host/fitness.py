"""Whether a built variant is accurate enough to spend a board's time on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from host.plan import Task
from host.specs.artifact import Artifact
from host.specs.profile import Limits


def find_unfit(
    tasks: Iterable[Task], artifacts: Mapping[str, Artifact], limits: Limits | None
) -> dict[str, str]:
    """Variant id to the reason, for every variant that is less accurate on the host than the limits allow.

    A baseline is always fit: without its figures nothing can be compared. So is what has no accuracy.
    """
    least = None if limits is None else limits.min_accuracy
    if least is None:
        return {}
    found = {task.variant_id: artifacts[task.variant_id].accuracy for task in tasks if not task.is_baseline}
    return {
        variant_id: f"{100 * accuracy:.6g} % on the host is below min_accuracy {100 * least:.6g} %"
        for variant_id, accuracy in found.items()
        if accuracy is not None and accuracy < least
    }
