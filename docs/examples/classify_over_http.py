"""Asks an adapter that craft-zoo serve --adapter serves, with nothing but Python's own library.

KEY=cz-… python classify_over_http.py http://127.0.0.1:8000 cat.jpg
"""

import json
import os
import sys
from pathlib import Path
from urllib.request import Request, urlopen

url, image = sys.argv[1], Path(sys.argv[2])
request = Request(
    f"{url}/v1/classify?top_k=3",
    data=image.read_bytes(),
    headers={"Authorization": f"Bearer {os.environ['KEY']}", "Content-Type": "image/jpeg"},
)
with urlopen(request, timeout=60) as response:
    answer = json.load(response)
for name, probability in answer["probabilities"].items():
    print(f"{probability:6.1%}  {name}")
