"""Trackio's own dashboard as a server: `python trackio_server.py PORT`; prints a line when it listens."""

import sys
import threading

import trackio

trackio.show(host="127.0.0.1", server_port=int(sys.argv[1]), open_browser=False, block_thread=False)
print("listens", flush=True)
threading.Event().wait()
