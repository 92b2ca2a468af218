# craft-zoo serve in a container, for a model or for an adapter: see "In a container" in
# docs/serving.md.
FROM python:3.12-slim AS build

# PyTorch without CUDA. For GPUs: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/craft-zoo
RUN /opt/craft-zoo/bin/pip install --index-url "$TORCH_INDEX" torch torchvision
WORKDIR /source
COPY pyproject.toml setup.py README.md LICENSE NOTICE ./
COPY craft_zoo craft_zoo
COPY optimizers optimizers
COPY benchmarks benchmarks
RUN /opt/craft-zoo/bin/pip install '.[openai,serve,torch]'

FROM python:3.12-slim

RUN useradd --system --uid 10001 --user-group --no-create-home craft-zoo \
    && install --directory --owner craft-zoo --group craft-zoo --mode 0700 /keys /state /cache
COPY --from=build /opt/craft-zoo /opt/craft-zoo
ENV PATH=/opt/craft-zoo/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    CRAFT_ZOO_CACHE=/cache \
    HF_HOME=/cache/huggingface
# Hashes of keys, bills and stored answers, and weights with image features. A new volume has the
# owner and the mode of the folder.
VOLUME ["/keys", "/state", "/cache"]
USER craft-zoo
EXPOSE 8000
# Loading a model may take minutes, during which nothing listens.
HEALTHCHECK --interval=30s --timeout=5s --start-period=5m \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["craft-zoo", "serve", "--host", "0.0.0.0", "--port", "8000", "--keys", "/keys/keys.json", "--state", "/state"]
