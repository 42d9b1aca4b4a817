"""A sweep's plan for people."""

from __future__ import annotations

from host.preview import Preview, VariantPreview
from host.report.listing import print_rows


def print_preview(preview: Preview) -> None:
    """Print what a sweep would build, send and measure, and about how long it would measure."""
    print_rows(
        f"{preview.profile} would build",
        ("model", "variant", "id", "state"),
        [(item.model, item.variant, item.variant_id, _describe_state(item)) for item in preview.variants],
    )
    print_rows(
        "and measure",
        ("device", "state", "tasks", "models to send", "about"),
        [
            (
                item.device,
                _describe_device(item.is_registered, item.is_emulated),
                str(item.tasks),
                "not built yet" if item.model_bytes is None else f"up to {item.model_bytes / 2**20:.1f} MiB",
                f"{item.seconds / 60:.1f} min",
            )
            for item in preview.devices
        ],
    )
    for sentence in preview.left_out:
        print(f"Left out: {sentence}.")
    if preview.epochs_to_train:
        print(
            f"Before that it trains {preview.epochs_to_train} epochs; how long that takes is not known here."
        )


def _describe_state(item: VariantPreview) -> str:
    return f"built, {(item.file_bytes or 0) / 2**20:.2f} MiB" if item.is_cached else "to be built"


def _describe_device(is_registered: bool, is_emulated: bool) -> str:
    if is_emulated:
        return "emulated; is started if it is down"
    return "registered" if is_registered else "unknown"
