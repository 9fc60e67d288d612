# The last stage holds a virtual environment and a Redis server on a slim Python: no compiler, no caches.
# Models come inside the Python packages, so nothing is downloaded at start and no network is needed.
#
#   docker build --build-arg TORCH_INDEX=ADDRESS .          for the CPU: `deploy/image_size.py` tells its size. Without
#                                                           an index that has CPU builds of torch it carries CUDA too
#   docker build --build-arg TORCH=cuda .                   for NVIDIA GPUs, several times larger
#   docker buildx build --platform linux/amd64,linux/arm64 .
#
# python:3.11-slim-bookworm, redis-server and every locked package exist for both platforms.

FROM python:3.11-slim-bookworm AS builder
ARG TORCH=cpu
# The general torch build carries CUDA on amd64 and arm64 alike. An index with the ones without makes the image small; the
# install page of PyTorch's site gives its address.
ARG TORCH_INDEX=
ENV PIP_NO_CACHE_DIR=1
WORKDIR /build
# The packages change rarely: their layer depends on the locks only.
COPY requirements/ requirements/
COPY deploy/install.sh deploy/verify_install.py deploy/trim.sh deploy/
RUN deploy/install.sh /opt/perplex runtime
COPY pyproject.toml README.md LICENSE config.toml ./
COPY src/ src/
COPY migrations/ migrations/
RUN deploy/install.sh /opt/perplex wheel verify && deploy/trim.sh /opt/perplex

FROM python:3.11-slim-bookworm
# Debian's security updates come with a build; a pinned version would keep them out, and vanish from the mirrors.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends redis-server \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin perplex \
    && install --directory --owner=10001 --group=10001 --mode=0700 /data /logs
COPY deploy/healthcheck.py /usr/local/bin/healthcheck.py
COPY --from=builder /opt/perplex /opt/perplex
# Only /data, /logs and /tmp are written to. Inside a container loopback is not reachable from outside, hence 0.0.0.0;
# publish the port on the host's loopback only, as compose.yaml does.
ENV PATH=/opt/perplex/bin:$PATH \
    HOME=/tmp \
    XDG_CACHE_HOME=/tmp/cache \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PERPLEX_DATA__DIRECTORY=/data \
    PERPLEX_SERVER__HOST=0.0.0.0
USER 10001:10001
WORKDIR /tmp
VOLUME /data
EXPOSE 8080
LABEL org.opencontainers.image.title="perplex-mono" \
    org.opencontainers.image.description="A private answer engine for your own documents, in one process." \
    org.opencontainers.image.licenses="Apache-2.0"
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-I", "-S", "/usr/local/bin/healthcheck.py"]
CMD ["perplex-mono", "serve"]
