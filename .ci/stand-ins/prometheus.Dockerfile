# Stands in for the image prom/prometheus.
ARG BASE
FROM ${BASE}
RUN apt-get -qq update \
 && apt-get -qq install -y --no-install-recommends prometheus wget >/dev/null \
 && rm -rf /var/lib/apt/lists/* /etc/prometheus/* \
 && mkdir -p /prometheus && chown nobody:nogroup /prometheus
USER nobody
VOLUME /prometheus
ENTRYPOINT ["/usr/bin/prometheus"]
