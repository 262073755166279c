// A worker for `delegator gateway` in Java 17. It needs Gson and nothing else.
import com.google.gson.*;
import java.io.IOException;
import java.net.URI;
import java.net.http.*;
import java.time.Duration;
import java.util.Map;
import java.util.concurrent.*;

public class Worker {
    static final int AT_ONCE = 8, LEASE_SECONDS = 3, HEARTBEAT_MS = 1000;
    static final String URL = System.getenv("GATEWAY_URL"), TOKEN = System.getenv("GATEWAY_TOKEN");
    static final HttpClient CLIENT = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
    static final ScheduledExecutorService POOL = Executors.newScheduledThreadPool(2 * AT_ONCE);
    static final Semaphore FREE = new Semaphore(AT_ONCE);
    static volatile boolean stopping;
    interface Handler { JsonElement handle(Job job) throws Exception; }

    // What runs the jobs of each type. Put your handlers here.
    static final Map<String, Handler> HANDLERS = Map.of(
        "conformance.echo", job -> job.args,
        "conformance.add", job -> new JsonPrimitive(job.args.get(0).getAsLong() + job.args.get(1).getAsLong()),
        "conformance.fail", job -> { throw new JobError(job.args.get(0).getAsJsonObject()); },
        "conformance.flaky", job -> {
            if (job.attempt <= job.args.get(0).getAsInt()) throw new JobError("Flaky", "attempt " + job.attempt);
            return new JsonPrimitive(job.attempt);
        },
        "conformance.slow", job -> { job.pause(job.args.get(0).getAsDouble()); return new JsonPrimitive("done"); },
        "conformance.resume", job -> {
            if (job.attempt > 1) return job.body.get("heartbeat_details");
            job.heartbeat(JsonParser.parseString("[\"halfway\"]"));
            throw new JobError("Resume", "stopped halfway");
        },
        "conformance.cancel", job -> { job.pause(60); return new JsonPrimitive("not canceled"); });

    /** A failure with the fields of `fail`. A handler may throw any exception. */
    static class JobError extends Exception {
        final JsonObject fields;
        JobError(JsonObject fields) { this.fields = fields; }
        JobError(String type, String message) {
            this(object("type", new JsonPrimitive(type)));
            fields.addProperty("message", message);
        }
    }

    static class Job {
        final JsonObject body;
        final JsonArray args;
        final int attempt;
        final CountDownLatch stop = new CountDownLatch(1); // open when the job should stop
        volatile String status = "held";
        Job(JsonElement body) {
            this.body = body.getAsJsonObject();
            args = this.body.getAsJsonArray("args");
            attempt = this.body.get("attempt").getAsInt();
        }

        void pause(double seconds) throws InterruptedException { stop.await((long) (seconds * 1000), TimeUnit.MILLISECONDS); }

        /** Says that the job runs. A later attempt gets the details. */
        void heartbeat(JsonElement details) {
            JsonObject entry = object("lease_seconds", new JsonPrimitive(LEASE_SECONDS));
            if (details != null) entry.add("details", details);
            String said = say("heartbeat", entry, LEASE_SECONDS);
            if (said.equals("held") || said.isEmpty()) return;
            status = said;
            stop.countDown();
        }

        /** Sends an entry about the job, and returns the status that it was answered with; empty: no gateway took it. */
        String say(String route, JsonObject entry, int seconds) {
            entry.add("token", body.get("token"));
            JsonArray entries = new JsonArray();
            entries.add(entry);
            try {
                JsonArray said = post(route, object("jobs", entries), System.currentTimeMillis() + seconds * 1000L);
                return said.get(0).getAsJsonObject().get("status").getAsString();
            } catch (Exception error) {
                System.err.println(error.getMessage());
                return "";
            }
        }

        void run() {
            Future<?> beats = POOL.scheduleAtFixedRate(() -> heartbeat(null), HEARTBEAT_MS, HEARTBEAT_MS, TimeUnit.MILLISECONDS);
            JsonObject end;
            String route = "complete";
            try {
                end = object("result", HANDLERS.get(body.get("type").getAsString()).handle(this));
            } catch (Exception error) {
                route = "fail";
                end = error instanceof JobError known ? known.fields : new JobError(error.getClass().getName(), error.getMessage()).fields;
            } finally {
                beats.cancel(false);
            }
            if (status.equals("cancel")) say("fail", object("canceled", new JsonPrimitive(true)), 30);
            else if (status.equals("held")) say(route, end, 30); // else it is lost: nothing that is said about it counts
        }
    }

    static JsonObject object(String name, JsonElement value) {
        JsonObject made = new JsonObject();
        made.add(name, value == null ? JsonNull.INSTANCE : value);
        return made;
    }

    /** Sends a request until it is answered, or refused for good, or the time is over. Returns the entries of the reply. */
    static JsonArray post(String route, JsonObject body, long until) throws InterruptedException {
        HttpRequest request = HttpRequest.newBuilder(URI.create(URL + "/v1/" + route)).timeout(Duration.ofSeconds(10))
            .header("Content-Type", "application/json").header("Authorization", "Bearer " + TOKEN)
            .POST(HttpRequest.BodyPublishers.ofString(body.toString())).build();
        for (long wait = 100; !(stopping && route.equals("poll")); wait = Math.min(2 * wait, 1000)) {
            try {
                HttpResponse<String> reply = CLIENT.send(request, HttpResponse.BodyHandlers.ofString());
                if (reply.statusCode() == 200) return JsonParser.parseString(reply.body()).getAsJsonObject().getAsJsonArray("jobs");
                if (reply.statusCode() != 429 && reply.statusCode() < 500) throw new IllegalStateException(route + ": " + reply.body());
                wait = Math.max(wait, reply.headers().firstValueAsLong("Retry-After").orElse(0) * 1000);
            } catch (IOException error) { /* The connection broke: the request is repeated. */ }
            if (System.currentTimeMillis() + wait > until) throw new IllegalStateException(route + ": no gateway takes it");
            Thread.sleep(wait);
        }
        return new JsonArray();
    }

    public static void main(String[] arguments) throws Exception {
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            stopping = true;
            FREE.acquireUninterruptibly(AT_ONCE); // all jobs have ended, and no poll is open
            Runtime.getRuntime().halt(0);
        }));
        Thread.currentThread().setUncaughtExceptionHandler((main, refused) -> { refused.printStackTrace(); Runtime.getRuntime().halt(1); });
        JsonObject ask = object("queue", new JsonPrimitive(System.getenv("GATEWAY_QUEUE")));
        ask.addProperty("lease_seconds", LEASE_SECONDS);
        ask.addProperty("wait_seconds", 4); // a poll that is open at SIGTERM is waited for, because it may bring jobs
        ask.add("types", new Gson().toJsonTree(HANDLERS.keySet()));
        while (!stopping) {
            FREE.acquire();
            int free = 1 + FREE.drainPermits();
            ask.addProperty("max_jobs", free);
            JsonArray jobs = post("poll", ask, Long.MAX_VALUE);
            FREE.release(free - jobs.size());
            for (JsonElement body : jobs) POOL.submit(() -> {
                if (stopping) new Job(body).say("release", new JsonObject(), 5);
                else new Job(body).run();
                FREE.release();
            });
        }
    }
}
