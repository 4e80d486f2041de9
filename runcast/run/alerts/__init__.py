"""The alerts of a run.

In the journal an alert is a text under the key `alerts`, whose caption is "level: title". Services that have alerts get
one of those, too (`MediaFile.alert`). `sending.py` records them, `titles.py` holds back what comes too often,
`webhook.py` posts.
"""
