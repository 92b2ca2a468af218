"""Adapts craft-mini to digits with one query, measures the adapter, saves it and uses it."""

import craft_zoo as cz

vlm = cz.load_vlm("craft-mini")
digits = cz.load_dataset("digits")
task = cz.few_shot(digits, shots=16, seed=1)

tuned = cz.tune(vlm, task, method="refine", seed=1)
print(f"{tuned.meter.queries} query; accuracy", cz.evaluate(tuned.adapter, vlm, digits))

tuned.adapter.save("digits.adapter")
adapter = cz.Adapter.load("digits.adapter")
probabilities = adapter.predict(vlm, task.test.images[:3])  # (3, 10)
print([adapter.classnames[best] for best in probabilities.argmax(axis=1)])
