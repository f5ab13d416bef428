"""What a figure was measured on, in words that name no host, no user and no path."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

from cryptography.hazmat.backends.openssl import backend as openssl

__all__ = ["describe_machine", "nominal_mhz"]

_CPUINFO = Path("/proc/cpuinfo")
_MAX_KHZ = Path("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq")
_TOLD_FLAGS = ("aes", "vaes", "vpclmulqdq", "sha_ni", "avx2", "avx512_vnni")
_PACKAGES = ("numpy", "torch", "onnxruntime", "triton", "cryptography")


def describe_machine() -> dict[str, object]:
    """Processor, system and versions; only what is known."""
    cpu = _first_processor()
    flags = cpu.get("flags", "").split()
    return {
        "processor": cpu.get("model name") or platform.processor() or platform.machine(),
        "architecture": platform.machine(),
        "processors": os.cpu_count(),
        "nominal_mhz": nominal_mhz(),
        "flags": [flag for flag in _TOLD_FLAGS if flag in flags],
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "openssl": openssl.openssl_version_text(),
        **{name: version for name in _PACKAGES if (version := _version(name))},
    }


def nominal_mhz() -> float | None:
    """The clock that the system states for the first processor; it may run faster or slower."""
    try:
        return int(_MAX_KHZ.read_text()) / 1e3
    except (OSError, ValueError):
        pass
    try:
        return float(_first_processor()["cpu MHz"])
    except (KeyError, ValueError):
        return None


def _first_processor() -> dict[str, str]:
    try:
        first = _CPUINFO.read_text(encoding="utf-8").split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
