"""An echo server whose connections Prometheus and the log can follow.

    python examples/metrics_server.py --listen 127.0.0.1:7007 --metrics 127.0.0.1:9100

Needs the extra: pip install 'asyncio-rudp[prometheus]'. Point Prometheus, or curl, at
http://127.0.0.1:9100/metrics and talk to the server with examples/echo_client.py.
Ctrl-C ends it.
"""

from __future__ import annotations

import argparse
import asyncio
import logging

import prometheus_client
import structlog
from _common import Handler, address, format_address, reason, run, until_stopped

import rudp
from rudp.aio import metrics


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back what the client sends."""
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError as error:
        print(f"{format_address(writer.get_extra_info('peername'))}: {reason(error)}", flush=True)
    finally:
        writer.close()


async def main(args: argparse.Namespace) -> int:
    """Serve until stopped."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
    registry = prometheus_client.CollectorRegistry()
    registry.register(metrics.Collector())
    host, port = args.metrics
    exporter, thread = prometheus_client.start_http_server(port, host, registry)
    print(f"metrics on http://{format_address(exporter.server_address)}/metrics", flush=True)
    handler = Handler(echo)
    server = await rudp.start_server(handler, *args.listen)
    print(f"listening on {format_address(server.sockets[0].getsockname())}", flush=True)
    try:
        with metrics.log_metrics(args.log_every):
            await until_stopped(server)
    finally:
        await handler.stop()
        exporter.shutdown()
        exporter.server_close()
        thread.join()
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--listen", type=address, default="127.0.0.1:7007", metavar="HOST:PORT")
    parser.add_argument("--metrics", type=address, default="127.0.0.1:9100", metavar="HOST:PORT")
    parser.add_argument(
        "--log-every",
        type=float,
        default=10.0,
        metavar="SECONDS",
        help="between lines of metrics in the log (%(default)s)",
    )
    run(main, parser.parse_args(), until_stopped=True)
