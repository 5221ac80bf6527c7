"""A model's card as a bill of materials, CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json/), pure.

It repeats what the manifest says in the words that tools outside know: a device only keeps it.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeapp.manifest import FileSpec, Manifest
    from edgeapp.updates.release import Accuracy, TensorFacts
    from edgeapp.workshop.agreement import Agreement

CARD_NAME = "bom.cdx.json"


def model_card(
    model: Manifest,
    float_model: FileSpec,
    accuracy: Accuracy,
    agreed: Agreement,
    tensors: dict[str, TensorFacts],
    *,
    semver: str,
    created_s: int,
) -> dict[str, Any]:
    """The document of bom.cdx.json. Its serial number follows from the model's hash: the same model, the same card."""
    metrics = [
        {"type": accuracy.metric, "value": f"{value:g}", "slice": f"{accuracy.data_set}, {which}"}
        for which, value in (
            ("float model", accuracy.float_model),
            ("this model", accuracy.quantized),
            ("least for a release", accuracy.floor),
        )
    ]
    metrics.append(
        {"type": "F1 against the float model", "value": f"{agreed.f1:.4f}", "slice": f"{agreed.frames} pictures"}
    )
    names = {role: name for role, name in model.output.tensors.items() if name in tensors}
    inputs = [f"{name} {_shape(facts)}" for name, facts in tensors.items() if name not in names.values()]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, f'{model.name}:{semver}:{model.model.sha256}')}",
        "version": 1,
        "metadata": {
            "timestamp": f"{datetime.fromtimestamp(created_s, UTC):%Y-%m-%dT%H:%M:%SZ}",
            "component": {
                **_component(model.name, semver, model.model),
                "bom-ref": "model",
                "modelCard": {
                    "modelParameters": {
                        "task": model.task,
                        "inputs": [{"format": text} for text in inputs],
                        "outputs": [
                            {"format": f"{role}: {name} {_shape(tensors[name])}"} for role, name in names.items()
                        ],
                    },
                    "quantitativeAnalysis": {"performanceMetrics": metrics},
                },
                "properties": [
                    {"name": "edgeapp:version", "value": str(model.version)},
                    {"name": "edgeapp:quantization", "value": model.quantization},
                    {"name": "edgeapp:classes", "value": ", ".join(model.classes)},
                ],
            },
        },
        "components": [{**_component(f"{model.name}-float", semver, float_model), "bom-ref": "float"}],
        "dependencies": [{"ref": "model", "dependsOn": ["float"]}, {"ref": "float"}],
    }


def _component(name: str, version: str, file: FileSpec) -> dict[str, Any]:
    return {
        "type": "machine-learning-model",
        "name": name,
        "version": version,
        "hashes": [{"alg": "SHA-256", "content": file.sha256}],
    }


def _shape(facts: TensorFacts) -> str:
    return f"{facts.dtype}{list(facts.shape)}"
