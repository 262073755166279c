# Stands in for the images temporalio/server and temporalio/admin-tools.
ARG BASE
FROM ${BASE} AS base
RUN useradd --uid 1000 --user-group --create-home temporal
WORKDIR /etc/temporal

FROM base AS server
COPY temporal-server /usr/local/bin/temporal-server
COPY temporal-entrypoint /etc/temporal/entrypoint.sh
USER temporal
CMD ["/etc/temporal/entrypoint.sh"]

FROM base AS tools
COPY temporal-sql-tool temporal /usr/local/bin/
USER temporal
CMD ["sleep", "infinity"]
