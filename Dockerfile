# An image for web and worker alike. docs/operating.md says how the two are started.
FROM python:3.13-slim

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    NBP_ENV=production \
    NBP_DATA_DIR=/data

RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin nbp \
    && install --directory --owner=nbp --group=nbp --mode=0700 /data

# pg_dump and pg_restore, for manage.py backup and restore.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends postgresql-client \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /app
COPY requirements/base.txt requirements/base.txt
RUN pip install --require-hashes -r requirements/base.txt

COPY manage.py LICENSE ./
COPY accounts accounts
COPY generation generation
COPY nbp_site nbp_site
COPY templates templates

USER nbp
VOLUME /data
EXPOSE 8000

# Whether this process serves; whether anybody works is the worker's health check (compose.yml).
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 CMD ["python", "-c", "\
import http.client, os, sys\n\
connection = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('PORT', '8000')), timeout=8)\n\
connection.request('GET', '/readyz?exclude=worker')\n\
sys.exit(connection.getresponse().status != 200)"]

CMD ["python", "manage.py", "serve", "--host", "0.0.0.0", "--no-worker"]
