"""The impaired network: two network namespaces joined by a path with delay, loss and a bottleneck.

Real programs run inside, unchanged, and meet the path that a profile describes.  It needs root.
A small example, with the address that each program is told to reach:

    with ImpairedNetwork("uplink", seed=1) as net:
        server = net.right.popen(["python", "server.py", "--host", net.right.address])
        client = net.left.popen(["python", "client.py", net.right.address])
        net.begin()                       # the schedule and the counters start here
        client.wait()
        print(net.counters().forward.lost, net.series().forward[-1].queue_ms)

`lab.netlab.run` does the same with the product's programs, and writes one JSON result.
"""

from __future__ import annotations

from lab.netlab.impairment import Impairment, ImpairmentStep, Schedule
from lab.netlab.line import LineCounters, Sample
from lab.netlab.network import ImpairedNetwork, LinkCounters, LinkSeries
from lab.netlab.profiles import PROFILES, Profile, load_profile

__all__ = [
    "PROFILES",
    "ImpairedNetwork",
    "Impairment",
    "LineCounters",
    "LinkCounters",
    "LinkSeries",
    "Profile",
    "Sample",
    "Schedule",
    "ImpairmentStep",
    "load_profile",
]
