# One image for every program of Fairstow: operator, webhook, extender and command line.
#   docker build -t fairstow .
#   docker run fairstow python operator/main.py | python -m scheduler_plugins | fairstow --help
# The plugin for Spark is in it, /app/dist/fairstow-spark.jar, if `make spark-plugin` was run before:
# it takes a JDK and Spark, which an image shouldn't. Releases and images of tests have it.
# BASE is any Debian-like image with Python 3.11 or later and its venv module.
ARG BASE=docker.io/library/python:3.13-slim

FROM ${BASE} AS build
RUN python3 -m venv /opt/tools \
    && /opt/tools/bin/pip install --quiet --no-cache-dir uv==0.13.9 hatchling==1.33.0
ENV UV_PROJECT_ENVIRONMENT=/opt/venv UV_PYTHON=python3 UV_PYTHON_DOWNLOADS=never \
    UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_CACHE_DIR=/var/cache/uv
WORKDIR /src
# What we depend on, as pinned by uv.lock, is a layer that a change of our own code leaves alone.
COPY pyproject.toml uv.lock ./
RUN --mount=type=cache,target=/var/cache/uv \
    /opt/tools/bin/uv sync --quiet --frozen --no-dev --extra server --extra tracing \
       --extra cache --no-install-project \
    && find /opt/venv/lib -type d -name tests -prune -exec rm -rf '{}' +
# The context holds what .dockerignore lets through. The wheel is the package `fairstow`; the
# programs beside it have names too plain for a site-packages and are run from where they lie.
COPY . .
RUN /opt/tools/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /tmp/wheel . \
    && /opt/tools/bin/uv pip install --quiet --offline --no-deps --python /opt/venv/bin/python \
       --target /app /tmp/wheel/*.whl \
    && find . -mindepth 1 -maxdepth 1 -type d ! -name fairstow -exec cp -r '{}' /app ';' \
    && /opt/venv/bin/python -m compileall -q /app

FROM ${BASE}
RUN useradd --system --uid 65532 --home-dir /nonexistent --shell /usr/sbin/nologin fairstow
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
ENV PATH=/opt/venv/bin:/app/bin:${PATH} PYTHONPATH=/app PYTHONUNBUFFERED=1
WORKDIR /app
USER 65532:65532
CMD ["fairstow", "--help"]
