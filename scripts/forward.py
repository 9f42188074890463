#!/usr/bin/env python3
"""forward.py PID PORT ADDRESS:PORT: 127.0.0.1:PORT here leads to ADDRESS:PORT in the network namespace of process PID.

A socket stays in the namespace in which it was made: it listens first and changes the namespace then, so that every
connection it opens begins there.
"""

import asyncio
import ctypes
import os
import socket
import sys

CLONE_NEWNET = 0x40000000
CONNECT_S_MAX = 10
PIECE_BYTES = 1 << 16


def enter(pid):
    libc = ctypes.CDLL(None, use_errno=True)
    file = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    if libc.setns(file, CLONE_NEWNET):
        raise SystemExit(f"forward: cannot enter the network of process {pid}: {os.strerror(ctypes.get_errno())}")
    os.close(file)


async def pump(reader, writer):
    """Until one side has said all it has to say; the other learns so and may go on talking."""
    while piece := await reader.read(PIECE_BYTES):
        writer.write(piece)
        await writer.drain()
    writer.write_eof()


async def serve(client, address):
    reader, writer = client
    try:
        there = await asyncio.wait_for(asyncio.open_connection(*address), CONNECT_S_MAX)
    except (OSError, asyncio.TimeoutError) as error:
        print(f"forward: {address[0]}:{address[1]} does not answer: {str(error) or type(error).__name__}", file=sys.stderr)
        writer.close()
        return
    # Whoever breaks off ends both directions: a call that nobody reads is to be cancelled.
    pumps = [asyncio.ensure_future(pump(reader, there[1])), asyncio.ensure_future(pump(there[0], writer))]
    await asyncio.wait(pumps, return_when=asyncio.FIRST_EXCEPTION)
    for one in pumps:
        one.cancel()
    await asyncio.gather(*pumps, return_exceptions=True)
    for end in (writer, there[1]):
        end.close()


async def main(pid, port, target):
    host, _, number = target.rpartition(":")
    listener = socket.create_server(("127.0.0.1", int(port)))
    enter(pid)
    server = await asyncio.start_server(lambda *client: serve(client, (host, int(number))), sock=listener)
    await server.serve_forever()


if len(sys.argv) != 4:
    raise SystemExit(__doc__.splitlines()[0])
try:
    asyncio.run(main(*sys.argv[1:]))
except KeyboardInterrupt:
    pass
