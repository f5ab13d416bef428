"""Named paths, with the reason for each figure; and paths of one's own from a TOML file.

`forward` is left to right, the direction of the media; `backward` is right to left.  A round-trip
time is split in halves.  Shares are of packets; sizes are of IP packets.

Round trips, loss and rates are this project's own choice: the paths that it holds itself to.
Delays and loss lie within what congestion controllers of real-time media are to be evaluated at
(RFC 8868, sections 4.1 and 4.2: 0 to 300 ms one way, 0 to 20 %).  Chosen here as well:

- Queues, drop-tail, which is still the usual kind (RFC 8868, section 4.3).  100 ms where nothing
  else is said: between its 70 ms of a short queue and the 300 to 500 ms of a nominal one; 1 to 2 s,
  which exist too (Gettys and Nichols, "Bufferbloat", ACM Queue 2011), would tell a controller that
  watches delay nothing new.  `4g` has a buffer in bytes, so that its delay grows when the rate
  falls: 100,000 bytes are 160 ms at 5 Mbit/s and 533 ms at 1.5 (mobile networks were found to queue
  for far longer: Jiang et al., "Tackling bufferbloat in 3G/4G mobile networks", IMC 2012).
- Loss of single packets, independent of each other, or of bursts by Gilbert's and Elliott's model
  (both: RFC 8868, section 4.4).  Mean length 4 packets at `4g` and 6 at `bad`, all lost while the
  burst lasts: 8 and 30 ms of packets at the full rate.  No measurement stands behind these two
  lengths; on the Internet, loss was found to be correlated over up to a second (Yajnik et al.,
  "Measurement and modelling of the temporal dependence in packet loss", INFOCOM 1999).
- Jitter of `4g`: ± 20 ms of the round trip, ± 10 a direction, moving to a new value each 40 ms and
  never overtaking (what RFC 8868, section 4.5, requires).  A delay drawn anew for each packet would
  either reorder or bunch everything up to the worst draw.
- Changes: `4g` falls at 10 s and recovers at 20 s, at once, which is the hardest case for a
  controller; `outage` lasts from 10 to 13 s.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path as FilePath
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from lab.netlab.impairment import Impairment, ImpairmentStep, Schedule
from shared.errors import BadInput

__all__ = ["PROFILES", "Profile", "load_profile"]


@dataclass(frozen=True, slots=True)
class Profile:
    """A path in both directions."""

    name: str
    description: str
    forward: Schedule  # left to right: media
    backward: Schedule  # right to left


def _both(name: str, description: str, impairment: Impairment, *steps: ImpairmentStep) -> Profile:
    schedule = Schedule((ImpairmentStep(0.0, impairment), *steps))
    return Profile(name, description, schedule, schedule)


# A switched network in one building: two switches add about 0.1 ms each way; it loses nothing.
_LAN = Impairment(delay_ms=0.1, rate_mbit=1000, queue_ms=10)
# A clinic on a business line: fibre or cable, another city's data centre or hospital at 20 ms.
_CLINIC = Impairment(delay_ms=10, loss=0.001, rate_mbit=20, queue_ms=100)
# A hospital's uplink, shared: 1 % in each direction, as feedback crosses the same path.
_UPLINK = Impairment(delay_ms=20, loss=0.01, rate_mbit=8, queue_ms=100)
_4G = Impairment(
    delay_ms=30,
    jitter_ms=10,
    jitter_period_ms=40,
    burst_loss=0.01,
    burst_packets=4,
    rate_mbit=5,
    queue_bytes=100_000,
)
# The worst at which a remote expert is still asked for: rural, satellite backhaul, or roaming.
_BAD = Impairment(delay_ms=60, burst_loss=0.03, burst_packets=6, rate_mbit=2, queue_ms=200)

PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        _both("lan", "one building: 0.2 ms round trip, no loss, 1 Gbit/s", _LAN),
        _both("clinic", "business line: 20 ms, 0.1 % loss, 20 Mbit/s", _CLINIC),
        _both("uplink", "hospital's uplink: 40 ms, 1 % loss each way, 8 Mbit/s", _UPLINK),
        _both(
            "4g",
            "mobile: 60 ± 20 ms, 1 % loss in bursts, 5 Mbit/s, 1.5 from 10 s to 20 s",
            _4G,
            ImpairmentStep(10.0, replace(_4G, rate_mbit=1.5)),
            ImpairmentStep(20.0, _4G),
        ),
        _both("bad", "barely usable: 120 ms, 3 % loss in bursts, 2 Mbit/s", _BAD),
        _both(
            "outage",
            "uplink that is gone from 10 s to 13 s",
            _UPLINK,
            ImpairmentStep(10.0, replace(_UPLINK, outage=True)),
            ImpairmentStep(13.0, _UPLINK),
        ),
    )
}

_STRICT = ConfigDict(extra="forbid")
_FIGURES: dict[str, Any] = {
    field.name: (get_type_hints(Impairment)[field.name], field.default)
    for field in fields(Impairment)
}
_Change = create_model("_Change", __config__=_STRICT, at_s=(float, Field(gt=0)), **_FIGURES)
_CHANGES: Any = (list[_Change], Field(default=[]))  # type: ignore[valid-type]
_Direction = create_model("_Direction", __config__=_STRICT, change=_CHANGES, **_FIGURES)


class _File(BaseModel):
    model_config = _STRICT
    name: str = Field(min_length=1)
    description: str = ""
    forward: _Direction  # type: ignore[valid-type]
    backward: _Direction | None = None  # type: ignore[valid-type]


def load_profile(name_or_path: str | FilePath) -> Profile:
    """A named profile, or one from a TOML file.

    The file has a `name`, perhaps a `description`, and tables `[forward]` and `[backward]`
    (without it: as forward) with the figures of `Impairment`; `[[forward.change]]` tables change
    some of them at `at_s` seconds, and leave the others as they were.

    Raises `BadInput` where there is no such profile, or something in the file is not right.
    """
    if (name := str(name_or_path)) in PROFILES:
        return PROFILES[name]
    path = FilePath(name_or_path)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(
            f"there is no profile {name!r}, and no such file",
            hint=f"choose from {', '.join(PROFILES)}, or give a TOML file",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"can't read the profile {name}: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{name} is not a TOML file: {error}") from error
    try:
        file = _File.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise BadInput(f"profile {name}: {place}: {first['msg']}") from None
    forward = _schedule(file.forward)
    backward = forward if file.backward is None else _schedule(file.backward)
    return Profile(file.name, file.description, forward, backward)


def _schedule(direction: Any) -> Schedule:
    figures = direction.model_dump(exclude_unset=True, exclude={"change"})
    steps = [ImpairmentStep(0.0, Impairment(**figures))]
    for change in direction.change:
        # a change from one kind of bound to the other replaces it
        changes = change.model_dump(exclude_unset=True, exclude={"at_s"})
        if changes.keys() & {"queue_ms", "queue_bytes"}:
            figures = {k: v for k, v in figures.items() if k not in ("queue_ms", "queue_bytes")}
        figures |= changes
        steps.append(ImpairmentStep(change.at_s, Impairment(**figures)))
    return Schedule(tuple(steps))
