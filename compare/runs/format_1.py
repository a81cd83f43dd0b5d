"""Records of format 1, which two branches wrote, of one network each: what they left to be guessed is known here."""

from typing import Any

NETWORKS = {"scratch_resnet": "ResNet-18", "pretrained": "ResNet50"}
DATA = {"fashion-mnist": "Fashion-MNIST", "digits": "scikit-learn's digits"}
TRAINED = {"none": "head", "last-stage": "last stage", "backbone": "backbone"}
# ImageNet's weights of ResNet50: BGR in 0…255, less the mean of each channel (`keras.applications.resnet50`).
EXPECTS = {
    "channels": "BGR",
    "lowest": [-103.939, -116.779, -123.68],
    "highest": [151.061, 138.221, 131.32],
}


def upgraded(content: dict[str, Any]) -> dict[str, Any]:
    """A record of format 1 as one of format 2; what is not as it should be stays so, and is found by who reads it."""
    try:
        return _upgraded(content)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"a record of format 1 without {error}") from error


def _upgraded(old: dict[str, Any]) -> dict[str, Any]:
    data, recipe, branch = old["data"], old["recipe"], old["branch"]
    model, weights = old.get("model"), dict(old.get("weights", {"kind": "none"}))
    fine_tuned = recipe.get("unfreeze", "none")
    new = {name: value for name, value in old.items() if name not in ("sha256", "backbone")} | {"format": 2}
    new["num_epochs"] = recipe.get("num_epochs", len(old["history"]))
    if fine_tuned != "none":
        new["num_epochs"] += recipe["num_unfrozen_epochs"]
    new["data"] = data | {
        "title": DATA.get(data["name"], data["name"]),
        "is_demonstration": data["name"] == "digits",
        "image_shape": [28, 28, 1],
    }
    if weights["kind"] == "imagenet":
        weights["expects"] = EXPECTS
    new["weights"] = weights
    if model is not None:
        is_pretrained = branch == "pretrained"
        new["model"] = model | {
            "name": NETWORKS.get(branch, branch),
            "title": None if branch in NETWORKS else branch,
            "start": "random" if weights["kind"] in ("none", "random") else "pretrained",
            "trained": TRAINED[fine_tuned] if is_pretrained else "all",
            "depth": None if is_pretrained else 18,
            "backbone": "ResNet50" if is_pretrained else None,
        }
    if "backbone" in old:
        new["frozen"] = old["backbone"]
    return new
