"""Weights on disk: the checkpoints that travel with the package, and anybody's own.

A `.safetensors` file carries its architecture in its metadata, so that loading needs nothing else.
A `.pt` state dict carries none and must fit the default architecture. Neither can run code.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from btgm_cli.core.errors import SettingError
from btgm_cli.core.results import State
from btgm_cli.store.files import TEMPORARY, file_hash, replacing
from btgm_cli.store.manifest import PARETO

DOMAINS = Path(__file__).parents[1] / "domains"
METADATA_KEY = "btgm"
DATA = (".npy", ".csv")
"""Ends of the names of data that a run may be fitted to."""


class StoredNetwork(nn.Module):
    """A network that knows its kind and the arguments of its constructor, to be built again."""

    family: ClassVar[str]
    architecture: Mapping[str, int | str]


NetworkT = TypeVar("NetworkT", bound=StoredNetwork)


@dataclass(frozen=True)
class Checkpoint:
    """The content of one weights file; `family` and `architecture` are empty for a `.pt`."""

    family: str
    architecture: Mapping[str, int | str]
    state: State


def packaged_checkpoints() -> list[str]:
    """Names of the checkpoints that travel with the package."""
    return sorted(_packaged())


def _packaged() -> dict[str, Path]:
    """The checkpoints of every domain by their names."""
    found = DOMAINS.glob("*/weights/*.safetensors")
    return {path.stem: path for path in found if not path.name.startswith(TEMPORARY)}


def find_checkpoint(checkpoint: str, setting: str = "checkpoint") -> Path:
    """The file of a packaged name (`gan_mnist`) or of a path.

    Raises:
        SettingError: It is neither; lists the packaged names.
    """
    packaged = _packaged()
    if checkpoint in packaged:
        return packaged[checkpoint]
    path = Path(checkpoint).expanduser()
    if path.suffix not in {".safetensors", ".pt"} or not path.is_file():
        raise SettingError(setting, checkpoint, f"no such checkpoint; {_choices()}")
    return path


def checkpoint_hash(checkpoint: str, setting: str = "checkpoint") -> str:
    """SHA-256 of the file of `checkpoint`, in hexadecimal."""
    return file_hash(find_checkpoint(checkpoint, setting))


def checkpoints_in(settings: Any) -> dict[str, str]:
    """SHA-256 of every checkpoint and file of data that plain settings name, by the dotted name.

    That of an earlier run is of its table, whose rows hold what its weights gave.
    """
    found = {}
    for name, value in texts(settings):
        with suppress(SettingError, OSError, RuntimeError, ValueError):  # any text may stand there
            path = Path(value)
            if is_run(path):
                path = path / PARETO
            elif path.suffix not in DATA:
                path = find_checkpoint(value)
            found[name] = file_hash(path)
    return found


def is_run(folder: Path) -> bool:
    """Is it the directory of a run with a finished β?"""
    return folder.name != "" and (folder / PARETO).is_file()


def texts(node: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Every text within mappings and lists, by its dotted name."""
    if isinstance(node, str):
        yield name, node
    elif isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from texts(value, f"{name}.{key}" if name else str(key))


def family_of(checkpoint: str, setting: str = "checkpoint") -> str:
    """The kind of network in a checkpoint; empty for a `.pt`, which does not tell.

    Raises:
        SettingError: No such file, or one that cannot be read.
    """
    return _read(find_checkpoint(checkpoint, setting), checkpoint, setting).family


def load_network(
    network: type[NetworkT], checkpoint: str, setting: str = "checkpoint"
) -> NetworkT:
    """Build a `network` from `checkpoint`, frozen and in eval mode, on the CPU.

    Raises:
        SettingError: No such file, one that cannot be read, or weights of another network.
    """
    stored = _read(find_checkpoint(checkpoint, setting), checkpoint, setting)
    if stored.family not in {network.family, ""}:
        reason = f"holds a {stored.family}, expected a {network.family}; {_choices()}"
        raise SettingError(setting, checkpoint, reason)
    try:
        with torch.device("meta"):  # no memory and no random numbers for weights to be replaced
            built = network(**stored.architecture)
        built.load_state_dict(stored.state, assign=True)
    except (RuntimeError, TypeError) as error:
        reason = f"its weights do not fit a {network.family}; {_choices()}"
        raise SettingError(setting, checkpoint, reason) from error
    return built.float().eval().requires_grad_(False)


def save_network(path: Path, network: StoredNetwork) -> None:
    """Write the weights of `network`, its family and architecture beside them, atomically."""
    state = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    # One entry, because safetensors writes several in an order that changes from run to run.
    about = {"family": network.family, "architecture": network.architecture}
    metadata = {METADATA_KEY: json.dumps(about)}
    with replacing(path) as temporary:
        save_file(state, temporary, metadata=metadata)


def read_torch_file(path: Path) -> Any:
    """Tensors and plain containers from a file of `torch.save`, on the CPU, running no code.

    Raises:
        ValueError: The file cannot be read so.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make the unpickler raise nearly anything
        raise ValueError(f"damaged, or not only tensors: {type(error).__name__}") from error


def _read(path: Path, checkpoint: str, setting: str) -> Checkpoint:
    reader = _read_safetensors if path.suffix == ".safetensors" else _read_state_dict
    try:
        return reader(path)
    except (SafetensorError, ValueError, OSError) as error:
        reason = f"cannot be read ({error}); {_choices()}".replace("\n", " ")
        raise SettingError(setting, checkpoint, reason) from error


def _read_safetensors(path: Path) -> Checkpoint:
    with safe_open(path, framework="pt") as stored:
        about = json.loads((stored.metadata() or {}).get(METADATA_KEY, "{}"))
        state = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118
    return Checkpoint(about.get("family", ""), about.get("architecture", {}), state)


def _read_state_dict(path: Path) -> Checkpoint:
    state = read_torch_file(path)
    if not isinstance(state, dict):
        raise ValueError("not a state dict")
    return Checkpoint("", {}, state)


def _choices() -> str:
    names = ", ".join(packaged_checkpoints()) or "none is packaged"
    return f"choose one of {names}, or the path of a .safetensors or .pt file"
