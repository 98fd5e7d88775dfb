# The server: a wheel built from this tree, locked dependencies, no root. It needs MEDIAGIT_API_KEY and a volume at /data.
#   docker build -t mediagit-server .
#   docker run -e MEDIAGIT_API_KEY=... -v media:/data -p 3000:3000 mediagit-server

FROM python:3.13-slim-bookworm AS build
WORKDIR /src
COPY requirements/build.txt requirements/build.txt
RUN pip install --no-cache-dir --require-hashes -r requirements/build.txt
COPY pyproject.toml README.md ./
COPY mediavault mediavault
COPY mediavault_server mediavault_server
COPY backends backends
RUN python -m hatchling build -t wheel -d /wheels

FROM python:3.13-slim-bookworm
COPY requirements/run.txt /tmp/requirements.txt
RUN pip install --no-cache-dir --require-hashes -r /tmp/requirements.txt && rm /tmp/requirements.txt
COPY --from=build /wheels /tmp/wheels
RUN pip install --no-cache-dir --no-deps --no-index /tmp/wheels/*.whl && rm -r /tmp/wheels \
 && useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin mediagit \
 && install -d -o mediagit -g mediagit -m 0750 /data
USER mediagit
VOLUME /data
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:3000/healthz', timeout=2)"]
ENTRYPOINT ["mediagit-server"]
CMD ["--storage", "/data", "--host", "0.0.0.0", "--port", "3000"]
