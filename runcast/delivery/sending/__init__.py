"""Sending records to a tracker: in batches, under the service's names, with what it rejects found out and counted.

Start reading at `record_sender.py`, then `point_sender.py`.
"""
