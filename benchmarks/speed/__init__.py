"""How fast craft-zoo is, measured against a naive way in the same run.

``python -m craft_zoo.benchmarks.speed``: what there is to measure.
"""
