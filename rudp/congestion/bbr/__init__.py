"""BBRv3 (draft-ietf-ccwg-bbr, in the working group's text of August 2026).

One file a phase: `startup`, `drain`, `probe_bw`, `probe_rtt`; `loss` has the responses to loss,
`model` what is estimated of the path, `core` the constants and what the estimates are turned
into, `controller` the order of the steps.
"""

from __future__ import annotations

from rudp.congestion.bbr.controller import Bbr
from rudp.congestion.bbr.core import AckPhase, Phase
from rudp.congestion.bbr.filter import WindowedMax
from rudp.congestion.bbr.model import PathModel

__all__ = ["AckPhase", "Bbr", "PathModel", "Phase", "WindowedMax"]
