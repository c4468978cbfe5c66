"""Plots of connections: windows, round-trip times, rates and losses over time.

`python -m rudp.plot simulate` runs a transfer in virtual time and draws it, `python -m rudp.plot
draw` draws what `rudp.aio.recorder.record` wrote. `scenario` runs simulations, `figure` draws;
only the latter needs matplotlib (`pip install 'asyncio-rudp[plot]'`).
"""
