"""Speed of craft-zoo, relative to naive implementations measured in the same process.

``python -m craft_zoo.benchmarks.speed`` runs the measurements. Each is a generator of the rows of
its CSV file.
"""
