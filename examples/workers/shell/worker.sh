#!/bin/bash
# A worker for `delegator gateway` in shell. It needs bash, curl and jq, and runs four jobs at a time.
set -u
url=${GATEWAY_URL:-http://127.0.0.1:7380}
queue=${GATEWAY_QUEUE:-default}
lease=3
at_once=4
stopping=
workers=()

types='["conformance.echo", "conformance.add", "conformance.fail", "conformance.flaky", "conformance.slow",
        "conformance.resume", "conformance.cancel"]'

# Handlers read the job on standard input and write what ends the attempt: a line with the route, then its fields.
handle() {
  case $1 in
    conformance.echo) jq -c '"complete", {result: .args}' ;;
    conformance.add) jq -c '"complete", {result: (.args[0] + .args[1])}' ;;
    conformance.fail) jq -c '"fail", (.args[0] | {type, message, non_retryable, details} | with_entries(select(.value != null)))' ;;
    conformance.flaky)
      jq -c 'if .attempt <= .args[0] then "fail", {type: "Flaky", message: "attempt \(.attempt)"}
             else "complete", {result: .attempt} end' ;;
    conformance.slow) sleep "$(jq '.args[0]')" && jq -nc '"complete", {result: "done"}' ;;
    conformance.resume)
      job=$(cat)
      if [ "$(jq .attempt <<<"$job")" = 1 ]; then
        jq -c '{jobs: [{token, details: ["halfway"]}]}' <<<"$job" | post heartbeat 3 >/dev/null
        jq -nc '"fail", {type: "Resume", message: "stopped halfway"}'
      else
        jq -c '"complete", {result: .heartbeat_details}' <<<"$job"
      fi ;;
    conformance.cancel) sleep 60 && jq -nc '"complete", {result: "not canceled"}' ;;
  esac
}

# post ROUTE SECONDS: send standard input until it is answered, for at most so long. Write the body of the reply.
post() {
  local route=$1 until=$((SECONDS + $2)) reply status wait
  local body; body=$(cat)
  while :; do
    reply=$(curl -sS --max-time 30 -w '\n%{http_code} %header{retry-after}' -H 'Content-Type: application/json' \
      -H "Authorization: Bearer ${GATEWAY_TOKEN:-}" --data-binary @- "$url/v1/$route" <<<"$body" 2>>"$work/errors")
    read -r status wait <<<"${reply##*$'\n'}"
    case $status in
      200) printf '%s\n' "${reply%$'\n'*}"; return 0 ;;
      429 | 5?? | 000) sleep "${wait:-0.5}" ;;
      *) printf '%s: %s\n' "$route" "$reply" >&2; return 1 ;;
    esac
    if [ "$SECONDS" -ge "$until" ] || { [ "$route" = poll ] && [ -n "$stopping" ]; }; then return 1; fi
  done
}

# Send heartbeats while the handler runs. Return its end, or what the heartbeats said.
attend() {
  local job=$1 handler=$2 said=held
  local beat; beat=$(jq -c --argjson lease "$lease" '{jobs: [{token, lease_seconds: $lease}]}' <<<"$job")
  local ticks=0
  while kill -0 "$handler" 2>/dev/null; do
    sleep 0.05
    ticks=$((ticks + 1))
    [ $((ticks % 20)) = 0 ] || continue
    said=$(post heartbeat "$lease" <<<"$beat" | jq -r '.jobs[0].status')
    if [ "$said" = lost ] || [ "$said" = cancel ]; then
      pkill -P "$handler" 2>/dev/null
      kill "$handler" 2>/dev/null
      break
    fi
  done
  wait "$handler" 2>/dev/null
  [ "$said" != lost ] || return
  if [ "$said" = cancel ]; then
    jq -c '{jobs: [{token, canceled: true}]}' <<<"$job" | post fail 30 >/dev/null
    return
  fi
  local route fields
  { read -r route; read -r fields; } <"$work/end"
  jq -c --argjson fields "${fields:-{\}}" '{jobs: [{token} + $fields]}' <<<"$job" | post "$(jq -r . <<<"${route:-\"fail\"}")" 30 >/dev/null
}

# Take one job after the other until SIGTERM.
work() {
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  trap 'stopping=1' TERM
  while [ -z "$stopping" ]; do
    # A poll that is open at SIGTERM is waited for, because it may bring a job. So it is short.
    jobs=$(jq -nc --arg queue "$queue" --argjson types "$types" --argjson lease "$lease" \
      '{queue: $queue, types: $types, wait_seconds: 4, lease_seconds: $lease}' | post poll 10) || continue
    job=$(jq -c '.jobs[0] // empty' <<<"$jobs")
    [ -n "$job" ] || continue
    if [ -n "$stopping" ]; then
      jq -c '{jobs: [{token}]}' <<<"$job" | post release 5 >/dev/null
      break
    fi
    handle "$(jq -r .type <<<"$job")" <<<"$job" >"$work/end" &
    attend "$job" $!
  done
}

for _ in $(seq "$at_once"); do
  work &
  workers+=($!)
done
trap 'kill -TERM "${workers[@]}" 2>/dev/null' TERM
for worker in "${workers[@]}"; do
  while kill -0 "$worker" 2>/dev/null; do wait "$worker"; done
done
exit 0
