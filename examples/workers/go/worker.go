// A worker for `delegator gateway` in Go. It needs the standard library only.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

const atOnce, leaseSeconds, beat = 4, 3, time.Second

type Job struct {
	Token, Type, Status string
	Attempt             int
	Args                json.RawMessage
	HeartbeatDetails    any             `json:"heartbeat_details"`
	stopped             context.Context // done when the job should stop
	stop                context.CancelCauseFunc
}

type object map[string]any

func (failure object) Error() string { return fmt.Sprint(failure["message"]) }

// Put your handlers here, and their types into main.
func (job *Job) handle() (any, error) {
	switch job.Type {
	case "conformance.echo":
		return job.Args, nil
	case "conformance.add":
		var a, b int64
		err := job.read(&a, &b)
		return a + b, err
	case "conformance.fail":
		failure := object{}
		return nil, errors.Join(job.read(&failure), failure)
	case "conformance.flaky":
		var failures int
		if err := job.read(&failures); err != nil || job.Attempt > failures {
			return job.Attempt, err
		}
		return nil, object{"type": "Flaky", "message": "not yet"}
	case "conformance.slow":
		var seconds float64
		err := job.read(&seconds)
		pause(job.stopped, time.Duration(seconds*1e9))
		return "done", err
	case "conformance.resume":
		if job.Attempt > 1 {
			return job.HeartbeatDetails, nil
		}
		job.heartbeat(object{"details": []string{"halfway"}}) // a later attempt gets them
		return nil, object{"type": "Resume", "message": "stopped halfway"}
	}
	pause(job.stopped, time.Minute)
	return "not canceled", nil
}

func (job *Job) read(arguments ...any) error { return json.Unmarshal(job.Args, &arguments) }
func (job *Job) heartbeat(entry object) {
	entry["lease_seconds"] = leaseSeconds
	if status := job.say("heartbeat", entry); status != "held" {
		job.stop(errors.New(status))
	}
}

func (job *Job) run() {
	job.stopped, job.stop = context.WithCancelCause(context.Background())
	go func() {
		for pause(job.stopped, beat); job.stopped.Err() == nil; pause(job.stopped, beat) {
			job.heartbeat(object{})
		}
	}()
	result, err := job.handle()
	job.stop(nil) // the first cause stays
	switch failure := (object{"message": fmt.Sprint(err)}); {
	case context.Cause(job.stopped).Error() == "cancel":
		job.say("fail", object{"canceled": true})
	case context.Cause(job.stopped) != context.Canceled: // lost: nothing that is said about it counts
	case errors.As(err, &failure) || err != nil:
		job.say("fail", failure)
	default:
		job.say("complete", object{"result": result})
	}
}

func (job *Job) say(route string, entry object) string {
	ctx, done := context.WithTimeout(context.Background(), 30*time.Second)
	defer done()
	entry["token"] = job.Token
	return append(post(ctx, route, object{"jobs": []object{entry}}), &Job{Status: "held"})[0].Status
}

// post sends a request until it is answered, or until the context is done. It returns the entries of the reply.
func post(ctx context.Context, route string, body object) []*Job {
	data, _ := json.Marshal(body)
	for wait := 100 * time.Millisecond; ctx.Err() == nil; wait = min(2*wait, time.Second) {
		request, _ := http.NewRequest("POST", os.Getenv("GATEWAY_URL")+"/v1/"+route, bytes.NewReader(data))
		request.Header = http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + os.Getenv("GATEWAY_TOKEN")}}
		if reply, err := (&http.Client{Timeout: 10 * time.Second}).Do(request); err == nil {
			var said struct{ Jobs []*Job }
			defer reply.Body.Close()
			if err = json.NewDecoder(reply.Body).Decode(&said); err == nil && reply.StatusCode == 200 {
				return said.Jobs
			} else if reply.StatusCode/100 == 4 && reply.StatusCode != 429 {
				panic(route + ": " + reply.Status)
			}
			asked, _ := time.ParseDuration(reply.Header.Get("Retry-After") + "s")
			wait = max(wait, asked)
		}
		pause(ctx, wait)
	}
	return nil
}

func pause(ctx context.Context, duration time.Duration) {
	ctx, done := context.WithTimeout(ctx, duration)
	defer done()
	<-ctx.Done()
}

func main() {
	stopping, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	// A poll that is open at SIGTERM is waited for, because it may bring a job. So it is short.
	ask := object{"queue": os.Getenv("GATEWAY_QUEUE"), "lease_seconds": leaseSeconds, "wait_seconds": 4, "types": []string{"conformance.echo", "conformance.add", "conformance.fail", "conformance.flaky", "conformance.slow", "conformance.resume", "conformance.cancel"}}
	var workers sync.WaitGroup
	for range atOnce {
		workers.Go(func() {
			for stopping.Err() == nil {
				for _, job := range post(stopping, "poll", ask) {
					if stopping.Err() != nil {
						job.say("release", object{})
						continue
					}
					job.run()
				}
			}
		})
	}
	workers.Wait()
}
