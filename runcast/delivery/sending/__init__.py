"""Sending of records to a tracker: in batches, under the service's names, finding and counting what it rejects.

Start reading at `record_sender.py`, then `point_sender.py`.
"""
