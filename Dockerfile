# One image for every service and for the command: `docker build -t foryou:local .`
#
# EXTRAS chooses what is inside. Everything takes some 1.1 GB, 0.7 of them JAX and what trains;
# a host that never runs phoenix may leave them out: --build-arg EXTRAS="thunder home-mixer cli".



FROM python:3.11-slim-bookworm AS build
RUN pip install --no-cache-dir --root-user-action=ignore uv
ARG EXTRAS="all"
ENV UV_PROJECT_ENVIRONMENT=/opt/foryou \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1 \
    UV_PYTHON_DOWNLOADS=never
WORKDIR /src
# Libraries change seldom and our code often: they are a layer of their own.
COPY pyproject.toml uv.lock README.md LICENSE ./
RUN uv sync --locked --no-dev --no-install-project $(printf -- ' --extra %s' $EXTRAS)
COPY protos protos
COPY candidate_pipeline candidate_pipeline
COPY service_kit service_kit
COPY thunder thunder
COPY phoenix phoenix
COPY home_mixer home_mixer
COPY foryou foryou
RUN uv sync --locked --no-dev --no-editable $(printf -- ' --extra %s' $EXTRAS)

FROM python:3.11-slim-bookworm
ARG VERSION="0.1.0"
ARG REVISION="unknown"
LABEL org.opencontainers.image.title="ForYou" \
      org.opencontainers.image.description="A For You feed: home_mixer, thunder, phoenix and their command" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# A fixed number, so that volumes and Kubernetes' runAsUser can name it.
RUN groupadd --gid 10001 foryou \
    && useradd --uid 10001 --gid 10001 --home-dir /tmp --no-create-home --shell /usr/sbin/nologin foryou \
    && install -d -o foryou -g foryou -m 0750 /data
COPY --from=build /opt/foryou /opt/foryou
# The root file system may be read-only: what is written goes to /data, a volume, and to /tmp.
# Compiled kernels are kept in /tmp, or where a service has a volume there, to start faster.
ENV PATH=/opt/foryou/bin:$PATH \
    HOME=/tmp \
    NUMBA_CACHE_DIR=/tmp/numba \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    FORYOU_HEALTH_ADDRESS=127.0.0.1:50051
USER 10001:10001
WORKDIR /data
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=20s --timeout=6s --start-period=120s --retries=3 CMD ["foryou", "health"]
ENTRYPOINT ["foryou"]
CMD ["--help"]
