"""asyncssh over rudp: a remote command and an SFTP copy, on a link where TCP would crawl.

    python examples/with_asyncssh.py serve --keys DIR
    python examples/with_asyncssh.py call FILE --keys DIR --loss 5 --delay 20

What it takes is `RudpTunnel`, which asyncssh accepts as `tunnel=` on both sides. SSH brings the
encryption that rudp has not. The first `serve` makes the keys of the two sides in DIR, which for
two machines is copied by hand.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _common import Failure, format_address, program, run, through_link

import rudp

try:
    import asyncssh
except ImportError:
    sys.exit("this example needs asyncssh: pip install 'asyncio-rudp[examples]'")

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

READ_BYTES = 1 << 16


class RudpTunnel:
    """Opens and accepts SSH connections over rudp: asyncssh's `tunnel=`."""

    def __init__(self, config: rudp.Config | None = None) -> None:
        self._config = config

    async def create_connection(
        self, factory: Callable[[], Any], host: str, port: int
    ) -> tuple[asyncio.Transport, Any]:
        """Dial: `asyncssh.connect(host, port, tunnel=RudpTunnel())`."""
        return await rudp.create_connection(factory, host, port, config=self._config)

    async def create_server(
        self, factory: Callable[[str, int], Any], host: str, port: int
    ) -> rudp.Server:
        """Listen: `asyncssh.listen(host, port, tunnel=RudpTunnel())`."""
        return await rudp.create_server(
            lambda: factory("", 0), host or None, port, config=self._config
        )


# --- what it then carries ---------------------------------------------------------------------


def make_keys(directory: Path) -> None:
    """The keys of server and client, made unless they are there."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in ("server", "client"):
        if not (directory / name).exists():
            key = asyncssh.generate_private_key("ssh-ed25519")
            key.write_public_key(directory / f"{name}.pub")
            (directory / name).touch(0o600)
            key.write_private_key(directory / name)


async def checksum(process: asyncssh.SSHServerProcess[bytes]) -> None:
    """The one command there is: the SHA-256 of standard input."""
    if process.command != "sha256":
        process.stderr.write(b"the only command here is sha256\n")
        process.exit(127)
        return
    digest = hashlib.sha256()
    while data := await process.stdin.read(READ_BYTES):
        digest.update(data)
    process.stdout.write(digest.hexdigest().encode())
    process.exit(0)


async def listen(
    address: tuple[str, int], keys: Path, files: Path, **options: Any
) -> asyncssh.SSHAcceptor:
    """A server that lets in the key `client`, to one command and to one directory."""
    return await asyncssh.listen(
        *address,
        tunnel=RudpTunnel(),
        server_host_keys=[keys / "server"],
        authorized_client_keys=str(keys / "client.pub"),
        process_factory=checksum,
        encoding=None,
        sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=str(files).encode()),
        **options,
    )


async def connect(
    address: tuple[str, int], keys: Path, **options: Any
) -> asyncssh.SSHClientConnection:
    """Connect with the key `client` to the server that has the key `server`, and to no other."""
    known = asyncssh.read_public_key(keys / "server.pub")
    return await asyncssh.connect(
        *address,
        tunnel=RudpTunnel(),
        username="rudp",
        config=None,
        client_keys=[keys / "client"],
        known_hosts=([known], [], []),
        **options,
    )


async def serve(args: argparse.Namespace) -> int:
    """Serve until stopped; the files are in a directory that goes with the server."""
    make_keys(args.keys)
    with tempfile.TemporaryDirectory() as files:
        server = await listen(args.listen, args.keys, Path(files))
        print(f"listening on {format_address((args.listen[0], server.get_port()))}", flush=True)
        try:
            await asyncio.Event().wait()
        finally:
            server.close()
            await server.wait_closed()
    return 0


async def call(args: argparse.Namespace) -> int:
    """Copy a file there and back by SFTP, and let a remote command tell its SHA-256."""
    where = await through_link(args.server, args)
    wanted = hashlib.sha256(args.file.read_bytes()).hexdigest()
    try:
        async with await connect(where, args.keys) as connection:
            result = await connection.run("sha256", stdin=args.file, encoding=None, check=True)
            async with connection.start_sftp_client() as sftp:
                await sftp.put(args.file, "copy")
                with tempfile.TemporaryDirectory() as directory:
                    await sftp.get("copy", directory)
                    back = (Path(directory) / "copy").read_bytes()
    except (asyncssh.Error, ValueError) as error:
        raise Failure(str(error)) from error
    assert isinstance(result.stdout, bytes)
    if {result.stdout.decode(), hashlib.sha256(back).hexdigest()} != {wanted}:
        raise Failure("what came back is not what was sent")
    print(f"{len(back)} bytes by SFTP there and back, identical: {wanted}")
    return 0


if __name__ == "__main__":
    parser, serving, calling = program(__doc__, serve, call, port=7022)
    calling.add_argument("file", type=Path)
    for command in (serving, calling):
        command.add_argument("--keys", type=Path, required=True, metavar="DIR")
    arguments = parser.parse_args()
    run(arguments.main, arguments, until_stopped=arguments.until_stopped)
