"""Views of runs: the contents of one, lists of many, runs beside each other, and pages about them."""
