"""What is remembered of a finished variant, so that it need not be built, or torch imported, again."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from host.compress.build_store import BuildStore, holds_blob, write_file
from host.plan import PlannedVariant
from host.specs.artifact import Artifact, Blob
from host.specs.record import Record

BLOBS = ("blob", "packed", "evaluation", "reference")


class Manifest(Record):
    """A finished variant; `evaluated` of the `test_images` are in the set that goes to boards."""

    artifact: Artifact
    evaluated: int
    test_images: int


def write_manifest(store: BuildStore, manifest: Manifest) -> None:
    """Remember a finished variant; its files are named relative to the store, which may be moved."""
    document = manifest.model_dump(mode="json")
    for key in BLOBS:
        if document["artifact"][key] is not None:
            path = Path(document["artifact"][key]["path"])
            document["artifact"][key]["path"] = str(path.relative_to(store.root))
    path = store.stage("variants", manifest.artifact.variant_id, ".json")
    write_file(path, json.dumps(document, indent=1, sort_keys=True).encode())


def read_manifest(store: BuildStore, planned: PlannedVariant) -> Manifest | None:
    """The finished variant under the names of this plan; None unless all its files are there and whole."""
    path = store.stage("variants", planned.id, ".json")
    try:
        document = json.loads(path.read_bytes())
        for key in BLOBS:
            if document["artifact"][key] is not None:
                document["artifact"][key]["path"] = store.root / document["artifact"][key]["path"]
        manifest = Manifest.model_validate(document)
    except (FileNotFoundError, json.JSONDecodeError, ValidationError, KeyError, TypeError):
        return None  # not built, or by a version that wrote other manifests: it is built anew
    artifact = manifest.artifact
    if not all(holds_blob(blob) for blob in _list_blobs(artifact)):
        return None
    named = artifact.model_copy(update={"model": planned.recipe.name, "variant": planned.label})
    return manifest.model_copy(update={"artifact": named})


def _list_blobs(artifact: Artifact) -> list[Blob]:
    blobs = (artifact.blob, artifact.packed, artifact.evaluation, artifact.reference)
    return [blob for blob in blobs if blob is not None]
