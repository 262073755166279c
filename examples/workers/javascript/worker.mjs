// A worker for `delegator gateway` in JavaScript. It needs Node 20 and nothing else.
const url = process.env.GATEWAY_URL ?? "http://127.0.0.1:7380";
const token = process.env.GATEWAY_TOKEN ?? "";
const queue = process.env.GATEWAY_QUEUE ?? "default";
const AT_ONCE = 8;
const LEASE_SECONDS = 3;
const HEARTBEAT_MS = 1000;

class JobError extends Error {
  constructor(message, fields = {}) {
    super(message);
    this.fields = fields;
  }
}

const sleep = (ms, signal) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => resolve(clearTimeout(timer)), { once: true });
  });

// What runs the jobs of each type. `job.signal` is aborted when the job should stop.
const handlers = {
  "conformance.echo": async (...args) => args.slice(0, -1),
  "conformance.add": async (a, b) => a + b,
  "conformance.fail": async (said) => {
    throw new JobError(said.message ?? "", said);
  },
  "conformance.flaky": async (failures, job) => {
    if (job.attempt <= failures) throw new JobError(`attempt ${job.attempt}`, { type: "Flaky" });
    return job.attempt;
  },
  "conformance.slow": async (seconds, job) => {
    await sleep(seconds * 1000, job.signal);
    return "done";
  },
  "conformance.resume": async (job) => {
    if (job.attempt > 1) return job.heartbeat_details;
    await job.heartbeat(["halfway"]);
    throw new JobError("stopped halfway", { type: "Resume" });
  },
  "conformance.cancel": async (job) => {
    await sleep(60_000, job.signal);
    return "not canceled";
  },
};

let stopping = false;
const running = new Set();

// Send a request until it is answered, or refused for good.
async function post(route, body, untilMs = Infinity) {
  for (let pause = 100; !(stopping && route === "poll"); pause = Math.min(pause * 2, 1000)) {
    let wait = pause;
    try {
      const headers = { "Content-Type": "application/json", ...(token && { Authorization: `Bearer ${token}` }) };
      const reply = await fetch(`${url}/v1/${route}`, { method: "POST", headers, body: JSON.stringify(body) });
      if (reply.ok) return await reply.json();
      if (reply.status !== 429 && reply.status < 500) throw new JobError(`${route}: ${await reply.text()}`);
      await reply.arrayBuffer();
      wait = Number(reply.headers.get("Retry-After") ?? 0) * 1000 || pause;
    } catch (error) {
      if (error instanceof JobError) throw error;
    }
    if (Date.now() + wait > untilMs) throw new JobError(`${route}: no gateway takes it`);
    await sleep(wait);
  }
  return { jobs: [] };
}

async function run(job) {
  const stop = new AbortController();
  let said = "held";
  const heartbeat = async (details) => {
    const beat = { token: job.token, lease_seconds: LEASE_SECONDS, ...(details && { details }) };
    const reply = await post("heartbeat", { jobs: [beat] }, Date.now() + LEASE_SECONDS * 1000);
    const { status } = reply.jobs[0];
    if (status !== "held") {
      said = status;
      stop.abort();
    }
  };
  const beats = setInterval(() => heartbeat().catch((error) => console.error(error.message)), HEARTBEAT_MS);
  let route = "complete";
  let end = {};
  try {
    const handler = handlers[job.type];
    end = { result: (await handler(...job.args, { ...job, heartbeat, signal: stop.signal })) ?? null };
  } catch (error) {
    route = "fail";
    const { type = error.name, non_retryable = false, details = [] } = error.fields ?? {};
    end = { type, message: error.message, non_retryable, details, stack_trace: error.fields ? "" : error.stack };
  } finally {
    clearInterval(beats);
  }
  if (said === "lost") return;
  if (said === "cancel") {
    route = "fail";
    end = { canceled: true };
  }
  await post(route, { jobs: [{ token: job.token, ...end }] }, Date.now() + 30_000);
}

function start(job) {
  const task = run(job)
    .catch((error) => console.error(`${job.job_id}: ${error.message}`))
    .finally(() => running.delete(task));
  running.add(task);
}

process.on("SIGTERM", () => (stopping = true));

while (!stopping) {
  if (running.size >= AT_ONCE) {
    await Promise.race(running);
    continue;
  }
  // A poll that is open at SIGTERM is waited for, because it may bring jobs. So it is short.
  const ask = { queue, types: Object.keys(handlers), max_jobs: AT_ONCE - running.size, wait_seconds: 5 };
  const { jobs } = await post("poll", { ...ask, lease_seconds: LEASE_SECONDS });
  if (stopping && jobs.length) await post("release", { jobs: jobs.map((job) => ({ token: job.token })) });
  else jobs.forEach(start);
}
await Promise.all(running);
