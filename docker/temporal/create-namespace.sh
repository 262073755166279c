#!/bin/sh
# Makes the namespace unless it exists. TEMPORAL_ADDRESS is the server, TEMPORAL_NAMESPACE the name.
set -eu
temporal operator cluster health
if temporal operator namespace describe --namespace "$TEMPORAL_NAMESPACE" >/dev/null 2>&1; then
  echo "namespace $TEMPORAL_NAMESPACE exists"
else
  temporal operator namespace create --namespace "$TEMPORAL_NAMESPACE" --retention 72h
fi
