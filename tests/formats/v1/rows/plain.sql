INSERT INTO custom_task_queue
    (job_id, job_type, namespace, workflow_id, run_id, enqueued_at, published_at, attempt, retry_at, cancel_requested, last_failure, heartbeat_details, format_version)
VALUES (
    'v1-backing-off',
    'resume',
    'default',
    'stored-workflow',
    '00000000000040008000000000000001'::uuid,
    now(),
    now(),
    1,
    now(),
    false,
    '\x0a9e010a1b0a08656e636f64696e67120f62696e6172792f70726f746f6275660a2e0a0b6d65737361676554797065121f74656d706f72616c2e6170692e6661696c7572652e76312e4661696c757265124f0a0f726566757365643a2073746f7265642a3c0a075265667573656410011a2f0a2d0a160a08656e636f64696e67120a6a736f6e2f706c61696e12137b22726561736f6e223a2273746f726564227d'::bytea,
    '\x0a200a160a08656e636f64696e67120a6a736f6e2f706c61696e12062270616765220a1c0a160a08656e636f64696e67120a6a736f6e2f706c61696e12023132'::bytea,
    1
);

INSERT INTO custom_task_queue
    (job_id, job_type, input, namespace, workflow_id, run_id, enqueued_at, published_at, attempt, cancel_requested, waiter_id, outcome, result, completed_at, format_version)
VALUES (
    'v1-completed-inline',
    'double',
    '\x0a1c0a160a08656e636f64696e67120a6a736f6e2f706c61696e12023231'::bytea,
    'default',
    'stored-workflow',
    '00000000000040008000000000000001'::uuid,
    now(),
    now(),
    1,
    false,
    9000000,
    'completed',
    '\x0a1c0a160a08656e636f64696e67120a6a736f6e2f706c61696e12023432'::bytea,
    now() - interval '1 minute',
    1
);

INSERT INTO custom_task_queue
    (job_id, job_type, input, namespace, workflow_id, run_id, enqueued_at, published_at, attempt, cancel_requested, outcome, result, completed_at, format_version)
VALUES (
    'v1-completed-signal',
    'double',
    '\x0a1c0a160a08656e636f64696e67120a6a736f6e2f706c61696e12023231'::bytea,
    'default',
    'stored-workflow',
    '00000000000040008000000000000001'::uuid,
    now(),
    now(),
    1,
    false,
    'completed',
    '\x0a1c0a160a08656e636f64696e67120a6a736f6e2f706c61696e12023432'::bytea,
    now() - interval '1 minute',
    1
);

INSERT INTO custom_task_queue
    (job_id, job_type, input, namespace, workflow_id, run_id, enqueued_at, published_at, attempt, cancel_requested, waiter_id, outcome, result, completed_at, format_version)
VALUES (
    'v1-failed-inline',
    'refuse',
    '\x0a1c0a160a08656e636f64696e67120a6a736f6e2f706c61696e12023231'::bytea,
    'default',
    'stored-workflow',
    '00000000000040008000000000000001'::uuid,
    now(),
    now(),
    1,
    false,
    9000000,
    'failed',
    '\x0ad7010a1b0a08656e636f64696e67120f62696e6172792f70726f746f6275660a2e0a0b6d65737361676554797065121f74656d706f72616c2e6170692e6661696c7572652e76312e4661696c7572651287010a144163746976697479207461736b206661696c6564224f0a0f726566757365643a2073746f7265642a3c0a075265667573656410011a2f0a2d0a160a08656e636f64696e67120a6a736f6e2f706c61696e12137b22726561736f6e223a2273746f726564227d5a1e1a087265636f7264656422080a067265667573652a0673746f7265643002'::bytea,
    now() - interval '1 minute',
    1
);

INSERT INTO custom_task_queue
    (job_id, job_type, input, namespace, workflow_id, run_id, enqueued_at, published_at, attempt, cancel_requested, outcome, result, completed_at, format_version)
VALUES (
    'v1-failed-signal',
    'refuse',
    '\x0a1c0a160a08656e636f64696e67120a6a736f6e2f706c61696e12023231'::bytea,
    'default',
    'stored-workflow',
    '00000000000040008000000000000001'::uuid,
    now(),
    now(),
    1,
    false,
    'failed',
    '\x0ad7010a1b0a08656e636f64696e67120f62696e6172792f70726f746f6275660a2e0a0b6d65737361676554797065121f74656d706f72616c2e6170692e6661696c7572652e76312e4661696c7572651287010a144163746976697479207461736b206661696c6564224f0a0f726566757365643a2073746f7265642a3c0a075265667573656410011a2f0a2d0a160a08656e636f64696e67120a6a736f6e2f706c61696e12137b22726561736f6e223a2273746f726564227d5a1e1a087265636f7264656422080a067265667573652a0673746f7265643002'::bytea,
    now() - interval '1 minute',
    1
);

INSERT INTO custom_task_queue
    (job_id, job_type, input, namespace, workflow_id, run_id, enqueued_at, published_at, deadline, attempt, retry_at, cancel_requested, last_failure, format_version)
VALUES (
    'v1-overdue',
    'double',
    '\x0a1c0a160a08656e636f64696e67120a6a736f6e2f706c61696e12023231'::bytea,
    'default',
    'stored-workflow',
    '00000000000040008000000000000001'::uuid,
    now(),
    now(),
    now() - interval '1 second',
    1,
    now() + interval '1 hour',
    false,
    '\x0a9e010a1b0a08656e636f64696e67120f62696e6172792f70726f746f6275660a2e0a0b6d65737361676554797065121f74656d706f72616c2e6170692e6661696c7572652e76312e4661696c757265124f0a0f726566757365643a2073746f7265642a3c0a075265667573656410011a2f0a2d0a160a08656e636f64696e67120a6a736f6e2f706c61696e12137b22726561736f6e223a2273746f726564227d'::bytea,
    1
);

INSERT INTO custom_task_queue
    (job_id, job_type, options, namespace, workflow_id, run_id, enqueued_at, published_at, deadline, attempt, cancel_requested, format_version)
VALUES (
    'v1-policy',
    'unlucky',
    '{"retry": {"maximum_attempts": 2, "backoff_coefficient": 1.5, "initial_interval_ms": 10, "maximum_interval_ms": 1000, "non_retryable_error_types": ["Refused"]}, "heartbeat_ms": 20000, "start_to_close_ms": 30000, "schedule_to_close_ms": 600000, "schedule_to_start_ms": 300000}'::jsonb,
    'default',
    'stored-workflow',
    '00000000000040008000000000000001'::uuid,
    now(),
    now(),
    now() + interval '10 minutes',
    0,
    false,
    1
);

INSERT INTO custom_task_queue
    (job_id, job_type, input, header, namespace, workflow_id, run_id, enqueued_at, published_at, attempt, cancel_requested, format_version)
VALUES (
    'v1-waiting',
    'double',
    '\x0a1c0a160a08656e636f64696e67120a6a736f6e2f706c61696e12023231'::bytea,
    '\x0a280a057472616365121f0a160a08656e636f64696e67120a6a736f6e2f706c61696e12052261626322'::bytea,
    'default',
    'stored-workflow',
    '00000000000040008000000000000001'::uuid,
    now(),
    now(),
    0,
    false,
    1
);

INSERT INTO custom_task_dead_letter
    (queue, reason, error, failure, job_id, job_type, input, namespace, workflow_id, run_id, attempt, enqueued_at, died_at, format_version)
VALUES (
    'default',
    'attempts_exhausted',
    'Refused',
    '\x0ad7010a1b0a08656e636f64696e67120f62696e6172792f70726f746f6275660a2e0a0b6d65737361676554797065121f74656d706f72616c2e6170692e6661696c7572652e76312e4661696c7572651287010a144163746976697479207461736b206661696c6564224f0a0f726566757365643a2073746f7265642a3c0a075265667573656410011a2f0a2d0a160a08656e636f64696e67120a6a736f6e2f706c61696e12137b22726561736f6e223a2273746f726564227d5a1e1a087265636f7264656422080a067265667573652a0673746f7265643002'::bytea,
    'v1-dead',
    'double',
    '\x0a1c0a160a08656e636f64696e67120a6a736f6e2f706c61696e12023231'::bytea,
    'default',
    'stored-workflow',
    '00000000000040008000000000000001'::uuid,
    1,
    now(),
    now(),
    1
);
