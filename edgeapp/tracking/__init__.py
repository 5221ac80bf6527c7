"""From predictions to events: who is there, who came and went, which lines were crossed, how long zones held people.

`tracker.py` joins the detections of successive frames into tracks, `counting.py` tells what the tracks do,
`geometry.py` holds the predicates that counting rests on. A track is the unit of counting and of privacy.
All of it is pure and runs in control; nothing here has seen a pixel. `docs/tracking.md` defines the words and says
what was measured.
"""
