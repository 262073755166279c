--------------------------- MODULE DelegatedJob ---------------------------
(* One delegated job, from the call of its workflow to the workflow's outcome.

   Modelled are the row with its lease, its fencing token and its waiter, the stream, two workers, two attempts of the
   local activity that enqueues (the first one may go on when Temporal has given it up), maintenance and the workflow.
   Each action is one statement or one message. Faults are bounded; everything else is fair.

   `Bug` puts back a fault of the past. With each of them TLC must find a counterexample: see `check.py`. *)
EXTENDS Naturals, FiniteSets

CONSTANTS
    Workers,      \* worker processes
    MaxAttempts,  \* of the retry policy
    Poison,       \* whether the handler kills its worker
    Crashes,      \* how many workers may die otherwise
    Pauses,       \* how many leases may expire while their worker lives
    SlotLosses,   \* how often the stream may lose everything
    RowLosses,    \* how often the row may get lost, as in a failover
    LateSignals,  \* whether signals come late, by a disturbed connection: the workflow task may run again meanwhile
    Bug           \* which fault of the past is put back; "none"

Enqueuers == {1, 2}
Nobody == 3  \* the waiter of a row that is kept although its outcome was signalled
NoSnap == [live |-> {}, token |-> 0, message |-> 0]
NoRow == [is |-> FALSE, token |-> 0, attempt |-> 0, holder |-> 0, retry |-> FALSE, waiter |-> 0, outcome |-> "none"]

VARIABLES
    row,        \* the job's row, or NoRow
    stream,     \* tokens of messages that are not acknowledged
    next,       \* the next fencing token: a transaction id
    lease,      \* of each worker: its lease, 0 if it has none
    live,       \* leases that have not expired
    nextLease,
    step,       \* what each worker does
    held,       \* of each worker: the token under which it runs the job
    snap,       \* of each worker: the snapshot of its claim
    phase,      \* of each attempt of the local activity
    current,    \* the attempt whose reply counts
    signal,     \* whether history holds a signal that the workflow has not handled
    workflow,   \* "waiting" or "done"
    asks,       \* what the workflow asks: "no", "asking", "suspects", "asking again"
    runs,       \* how often the handler began
    crashes, pauses, slotLosses, rowLosses,
    late,       \* whether the job was enqueued when it had ended: the task ran again while its outcome was signalled
    again,      \* whether the workflow enqueued the job again
    twice,      \* whether the attempt whose reply counts enqueued the job anew, when its late signal had arrived
    fenced      \* whether an outcome of a fenced attempt was taken

vars == <<row, stream, next, lease, live, nextLease, step, held, snap, phase, current, signal, workflow, asks, runs,
          crashes, pauses, slotLosses, rowLosses, late, again, twice, fenced>>

faults == <<crashes, pauses, slotLosses, rowLosses>>
watched == <<late, again, twice, fenced>>
workers == <<lease, live, nextLease, step, held, snap, runs>>
callers == <<phase, current, signal, workflow, asks>>

Init ==
    /\ row = NoRow
    /\ stream = {}
    /\ next = 1
    /\ lease = [w \in Workers |-> 0]
    /\ live = {}
    /\ nextLease = 1
    /\ step = [w \in Workers |-> "idle"]
    /\ held = [w \in Workers |-> 0]
    /\ snap = [w \in Workers |-> NoSnap]
    /\ phase = [e \in Enqueuers |-> IF e = 1 THEN "begin" ELSE "no"]
    /\ current = 1
    /\ signal = FALSE
    /\ workflow = "waiting"
    /\ asks = "no"
    /\ runs = 0
    /\ crashes = 0 /\ pauses = 0 /\ slotLosses = 0 /\ rowLosses = 0
    /\ late = FALSE /\ again = FALSE /\ twice = FALSE /\ fenced = FALSE

New(waiter) ==
    [is |-> TRUE, token |-> next, attempt |-> 0, holder |-> 0, retry |-> FALSE, waiter |-> waiter, outcome |-> "none"]

Published(changed) ==  \* DELETE and INSERT in one statement: the insert is streamed
    /\ row' = [changed EXCEPT !.token = next]
    /\ stream' = stream \union {next}
    /\ next' = next + 1

---------------------------------------------------------------------------
(* The local activity that enqueues, and inline waiting *)

Insert(e) ==
    /\ phase[e] = "begin"
    /\ ~row.is
    /\ Published(New(e))
    /\ phase' = [phase EXCEPT ![e] = "waiting"]
    /\ late' = (late \/ e # current \/ workflow = "done" \/ signal)
    /\ twice' = (twice \/ (LateSignals /\ signal /\ e = current))
    /\ UNCHANGED <<workers, current, signal, workflow, asks, faults, again, fenced>>

TakeOver(e) ==  \* the job is in the queue already; NULL stays NULL
    /\ phase[e] = "begin"
    /\ row.is
    /\ IF row.waiter # 0 \/ Bug = "waiter set again"
       THEN /\ row' = [row EXCEPT !.waiter = e]
            /\ phase' = [phase EXCEPT ![e] = "waiting"]
       ELSE /\ row' = row
            /\ phase' = [phase EXCEPT ![e] = "left"]
    /\ UNCHANGED <<stream, next, workers, current, signal, workflow, asks, faults, watched>>

ReadInline(e) ==
    /\ phase[e] = "waiting"
    /\ row.is /\ row.outcome # "none"
    /\ phase' = [phase EXCEPT ![e] = "has read"]
    /\ workflow' = IF e = current THEN "done" ELSE workflow
    /\ UNCHANGED <<row, stream, next, workers, current, signal, asks, faults, watched>>

StopWaiting(e) ==  \* waiter_id decides: set means inline, NULL means signal
    /\ phase[e] = "waiting"
    /\ ~row.is \/ row.outcome = "none"
    /\ row' = IF row.is THEN [row EXCEPT !.waiter = 0] ELSE row
    /\ phase' = [phase EXCEPT ![e] = "left"]
    /\ UNCHANGED <<stream, next, workers, current, signal, workflow, asks, faults, watched>>

DeleteRead(e) ==  \* after the result TTL, which is longer than any inline wait; only while the row names this reader
    /\ phase[e] = "has read"
    /\ phase[current] \notin {"begin", "waiting"}
    /\ row' = IF row.is /\ row.outcome # "none" /\ row.waiter = e THEN NoRow ELSE row
    /\ phase' = [phase EXCEPT ![e] = "gone"]
    /\ UNCHANGED <<stream, next, workers, current, signal, workflow, asks, faults, watched>>

DeleteKept ==  \* after the result retention, which is longer than a workflow task takes to run again
    /\ row.is /\ row.outcome # "none" /\ row.waiter = Nobody
    /\ \A e \in Enqueuers : phase[e] \notin {"begin", "waiting"}
    /\ row' = NoRow
    /\ UNCHANGED <<stream, next, workers, callers, faults, watched>>

TaskRunsAgain ==  \* Temporal gives the first attempt up, though its process may go on; signals come before the code
    /\ current = 1
    /\ phase[1] \in {"begin", "waiting"}
    /\ current' = 2
    /\ phase' = [phase EXCEPT ![2] = IF signal THEN "gone" ELSE "begin"]
    /\ workflow' = IF signal THEN "done" ELSE workflow
    /\ UNCHANGED <<row, stream, next, workers, signal, asks, faults, watched>>

---------------------------------------------------------------------------
(* Workers *)

GrantLease(w) ==
    /\ step[w] = "idle"
    /\ lease[w] \notin live
    /\ lease' = [lease EXCEPT ![w] = nextLease]
    /\ live' = live \union {nextLease}
    /\ nextLease' = nextLease + 1
    /\ UNCHANGED <<row, stream, next, step, held, snap, callers, runs, faults, watched>>

BeginClaim(w) ==  \* the statement's snapshot; then it may wait for the lock of the row
    /\ step[w] = "idle"
    /\ lease[w] \in live
    /\ \E message \in stream :
        snap' = [snap EXCEPT ![w] = [live |-> live, token |-> row.token, message |-> message]]
    /\ step' = [step EXCEPT ![w] = "claims"]
    /\ UNCHANGED <<row, stream, next, lease, live, nextLease, held, callers, runs, faults, watched>>

TakesAbandoned(w) ==  \* leases as the snapshot has them, the row as it is: a younger claim is not visible
    /\ row.holder \notin snap[w].live
    /\ \/ Bug = "younger claim robbed"
       \/ Bug = "abandoned job claimed" /\ row.token <= snap[w].token

Claim(w) ==
    /\ step[w] = "claims"
    /\ LET claimed == /\ lease[w] \in live
                      /\ row.is /\ row.outcome = "none" /\ ~row.retry
                      /\ row.holder = 0 \/ TakesAbandoned(w)
       IN IF claimed
          THEN /\ row' = [row EXCEPT !.holder = lease[w], !.token = next, !.attempt = row.attempt + 1]
               /\ next' = next + 1
               /\ held' = [held EXCEPT ![w] = next]
               /\ step' = [step EXCEPT ![w] = "runs"]
               /\ runs' = runs + 1
               /\ stream' = stream \ {snap[w].message}
          ELSE /\ step' = [step EXCEPT ![w] = "idle"]
               /\ stream' = IF lease[w] \in live THEN stream \ {snap[w].message} ELSE stream
               /\ UNCHANGED <<row, next, held, runs>>
    /\ snap' = [snap EXCEPT ![w] = NoSnap]
    /\ UNCHANGED <<lease, live, nextLease, callers, faults, watched>>

Rests(w) == step' = [step EXCEPT ![w] = "idle"] /\ held' = [held EXCEPT ![w] = 0]

End(w) ==
    /\ step[w] = "runs"
    /\ ~Poison
    /\ step' = [step EXCEPT ![w] = "ended"]
    /\ UNCHANGED <<row, stream, next, lease, live, nextLease, held, snap, callers, runs, faults, watched>>

IsHeld(w) == row.is /\ row.outcome = "none" /\ (row.token = held[w] \/ Bug = "no fencing token")

StoreOutcome(w) ==
    /\ step[w] = "ended"
    /\ IsHeld(w)
    /\ row.waiter # 0
    /\ row' = [row EXCEPT !.outcome = "completed", !.holder = 0, !.retry = FALSE]
    /\ fenced' = (fenced \/ row.token # held[w])
    /\ Rests(w)
    /\ UNCHANGED <<stream, next, lease, live, nextLease, snap, callers, runs, faults, late, again, twice>>

LookWhetherUnwaited(w) ==
    /\ step[w] = "ended"
    /\ IsHeld(w)
    /\ row.waiter = 0
    /\ step' = [step EXCEPT ![w] = IF Bug = "row deleted first" THEN "deletes" ELSE "signals"]
    /\ UNCHANGED <<row, stream, next, lease, live, nextLease, held, snap, callers, runs, faults, watched>>

DropOutcome(w) ==
    /\ step[w] = "ended"
    /\ ~IsHeld(w)
    /\ Rests(w)
    /\ UNCHANGED <<row, stream, next, lease, live, nextLease, snap, callers, runs, faults, watched>>

Signal(w) ==
    /\ step[w] = "signals"
    /\ signal' = TRUE
    /\ IF Bug = "row deleted first" THEN Rests(w) ELSE step' = [step EXCEPT ![w] = "deletes"] /\ held' = held
    /\ UNCHANGED <<row, stream, next, lease, live, nextLease, snap, phase, current, workflow, asks, runs, faults,
                   watched>>

Signalled ==  \* what becomes of a row whose outcome was signalled: after a late signal a second enqueue finds it
    IF LateSignals /\ Bug # "late outcome deleted"
    THEN [row EXCEPT !.outcome = IF @ = "none" THEN "completed" ELSE @, !.holder = 0, !.waiter = Nobody]
    ELSE NoRow

Delete(w) ==
    /\ step[w] = "deletes"
    /\ row' = IF row.is /\ row.token = held[w] THEN Signalled ELSE row
    /\ IF Bug = "row deleted first" THEN step' = [step EXCEPT ![w] = "signals"] /\ held' = held ELSE Rests(w)
    /\ UNCHANGED <<stream, next, lease, live, nextLease, snap, callers, runs, faults, watched>>

---------------------------------------------------------------------------
(* Maintenance *)

IsAbandoned == row.is /\ row.outcome = "none" /\ row.holder # 0 /\ row.holder \notin live

EndLostAttempt ==  \* a lost lease is a failed attempt
    /\ IsAbandoned
    /\ Bug # "lost attempt not counted"
    /\ row' = IF row.attempt >= MaxAttempts
              THEN [row EXCEPT !.outcome = "failed", !.holder = 0, !.token = next]
              ELSE [row EXCEPT !.retry = TRUE, !.holder = 0, !.token = next]
    /\ next' = next + 1
    /\ UNCHANGED <<stream, workers, callers, faults, watched>>

RepublishAbandoned ==
    /\ IsAbandoned
    /\ Bug = "lost attempt not counted"
    /\ Published([row EXCEPT !.holder = 0, !.attempt = row.attempt - 1])
    /\ UNCHANGED <<workers, callers, faults, watched>>

RepublishRetry ==
    /\ row.is /\ row.retry /\ row.outcome = "none"
    /\ Published([row EXCEPT !.retry = FALSE])
    /\ UNCHANGED <<workers, callers, faults, watched>>

RepublishUndelivered ==
    /\ row.is /\ row.outcome = "none" /\ row.holder = 0 /\ ~row.retry
    /\ row.token \notin stream
    /\ Bug # "lost message stays lost"
    /\ Published(row)
    /\ UNCHANGED <<workers, callers, faults, watched>>

SignalStored ==  \* the signaller: signal first, then delete
    /\ row.is /\ row.outcome # "none" /\ row.waiter = 0
    /\ signal' = TRUE
    /\ row' = Signalled
    /\ UNCHANGED <<stream, next, workers, phase, current, workflow, asks, faults, watched>>

---------------------------------------------------------------------------
(* The workflow: it handles signals, and asks for what it should have heard of *)

HandleSignal ==
    /\ signal
    /\ phase[current] \notin {"begin", "waiting"}
    /\ workflow' = "done"
    /\ signal' = FALSE
    /\ asks' = IF asks \in {"asking", "asking again"} THEN asks ELSE "no"
    /\ UNCHANGED <<row, stream, next, workers, phase, current, faults, watched>>

BeginToAsk ==  \* a workflow task begins: signals that have arrived are handled before
    /\ workflow = "waiting" /\ ~signal
    /\ phase[current] = "left"
    /\ asks \in {"no", "suspects"}
    /\ Bug # "never asks"
    /\ asks' = IF asks = "no" THEN "asking" ELSE "asking again"
    /\ UNCHANGED <<row, stream, next, workers, phase, current, signal, workflow, faults, watched>>

EnqueueAgain ==
    /\ Published(New(0))
    /\ again' = TRUE
    /\ asks' = "no"
    /\ UNCHANGED <<workers, phase, current, signal, workflow, faults, late, twice, fenced>>

Ask ==
    /\ asks \in {"asking", "asking again"}
    /\ IF row.is
       THEN /\ asks' = "no"
            /\ UNCHANGED <<row, stream, next, workers, phase, current, signal, workflow, faults, watched>>
       ELSE IF asks = "asking" /\ Bug # "asks once"
       THEN /\ asks' = "suspects"
            /\ UNCHANGED <<row, stream, next, workers, phase, current, signal, workflow, faults, watched>>
       ELSE EnqueueAgain

---------------------------------------------------------------------------
(* Faults *)

Dies(w) ==
    /\ Rests(w)
    /\ snap' = [snap EXCEPT ![w] = NoSnap]
    /\ lease' = [lease EXCEPT ![w] = 0]
    /\ live' = live \ {lease[w]}  \* when its lease has expired; until then nobody does anything about it
    /\ UNCHANGED <<row, stream, next, nextLease, callers, runs, pauses, slotLosses, rowLosses, watched>>

Crash(w) == step[w] # "idle" /\ crashes < Crashes /\ crashes' = crashes + 1 /\ Dies(w)

KillsItsWorker(w) == Poison /\ step[w] = "runs" /\ crashes' = crashes /\ Dies(w)

LosesLease(w) ==  \* it was paused, or cut off; it may go on
    /\ pauses < Pauses
    /\ lease[w] \in live
    /\ step[w] # "idle"
    /\ live' = live \ {lease[w]}
    /\ pauses' = pauses + 1
    /\ UNCHANGED <<row, stream, next, lease, nextLease, step, held, snap, callers, runs, crashes, slotLosses, rowLosses,
                   watched>>

SlotIsLost ==
    /\ slotLosses < SlotLosses
    /\ stream # {}
    /\ stream' = {}
    /\ slotLosses' = slotLosses + 1
    /\ UNCHANGED <<row, next, workers, callers, crashes, pauses, rowLosses, watched>>

RowIsLost ==
    /\ rowLosses < RowLosses
    /\ row.is
    /\ row' = NoRow
    /\ rowLosses' = rowLosses + 1
    /\ UNCHANGED <<stream, next, workers, callers, crashes, pauses, slotLosses, watched>>

---------------------------------------------------------------------------

OfEnqueuer(e) == Insert(e) \/ TakeOver(e) \/ ReadInline(e) \/ StopWaiting(e) \/ DeleteRead(e)
OfWorker(w) == \/ GrantLease(w) \/ BeginClaim(w) \/ Claim(w) \/ End(w) \/ StoreOutcome(w) \/ LookWhetherUnwaited(w)
               \/ DropOutcome(w) \/ Signal(w) \/ Delete(w) \/ KillsItsWorker(w)
OfMaintenance ==
    EndLostAttempt \/ RepublishAbandoned \/ RepublishRetry \/ RepublishUndelivered \/ SignalStored \/ DeleteKept
OfWorkflow == HandleSignal \/ BeginToAsk \/ Ask
Faults == TaskRunsAgain \/ SlotIsLost \/ RowIsLost \/ \E w \in Workers : Crash(w) \/ LosesLease(w)

Next == (\E e \in Enqueuers : OfEnqueuer(e)) \/ (\E w \in Workers : OfWorker(w)) \/ OfMaintenance \/ OfWorkflow \/ Faults

Fairness ==
    /\ \A e \in Enqueuers : WF_vars(OfEnqueuer(e))
    /\ \A w \in Workers : WF_vars(OfWorker(w))
    /\ WF_vars(EndLostAttempt) /\ WF_vars(RepublishAbandoned) /\ WF_vars(RepublishRetry)
    /\ WF_vars(RepublishUndelivered) /\ WF_vars(SignalStored)
    /\ WF_vars(HandleSignal) /\ WF_vars(BeginToAsk) /\ WF_vars(Ask)

Spec == Init /\ [][Next]_vars /\ Fairness

---------------------------------------------------------------------------
(* What must hold *)

RunsWithinPolicy ==  \* the handler runs no more often than the retry policy allows
    ~late /\ rowLosses = 0 => runs <= MaxAttempts

NoLiveWorkerIsRobbed ==  \* a worker whose lease lives holds the row that it runs
    \A w \in Workers :
        step[w] = "runs" /\ lease[w] \in live /\ rowLosses = 0 => row.is /\ row.token = held[w]

NoFencedOutcome == ~fenced  \* no outcome of an attempt whose row another process has taken over

OnlyLostIsEnqueuedAgain == again => rowLosses > 0

LateOutcomeIsKept == twice => rowLosses > 0  \* a workflow task that runs again finds what was signalled late

WorkflowEnds == <>(workflow = "done")
=============================================================================
