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
    '\x0aa7020a1c0a08656e636f64696e67121062696e6172792f656e63727970746564128602123a696dd4b4d9bd08ea8aa99a059c1e69c8964915d41b11a0955b5ae7d5246ba908f21cae2565cd2405211d94aa9c23be908f814658a71d0d1c595b60660b08a758a5ba12e4065e33938a7216d5679f65348003afb5199619421e2dbea7b9d34088b660e8cdf4a749f4af44b33b8ceb46ecb78039a4949ce932154ba9e818efbe5fa21f0054fd989d41dce20a668278fcf28de4ce68a76e6b56dd5173d85faa3133e89741900e363ebc4f0aa575707f2a7ec96c1641dbba9464ba9a66266409bb0ea04ea3bf7915c1afe87199d5b1bd756495eab1a23b6e6b6a0f65e9238d28f715d10d3fbf54e8081c7083b0d955a0a0547f850f4dc4f0e7135b9a08faec521b82b95809cd'::bytea,
    '\x0a5c0a1c0a08656e636f64696e67121062696e6172792f656e63727970746564123c456a1a4198335c108246a8e072f01a4e9061cdce731f65458749e114dd2417686b375ba2f24b7a73138c0ed48592d9013d3082c193d340d0dbda7eb10a580a1c0a08656e636f64696e67121062696e6172792f656e6372797074656412380c65b2641a6295ea59b2ce53e9bd7dae88cac5efee6fff74eba85d9ce3d5d70d6b881a27be10b14cb078cc4f07c9bbdd8215aec9fcfce269'::bytea,
    1
);

INSERT INTO custom_task_queue
    (job_id, job_type, input, namespace, workflow_id, run_id, enqueued_at, published_at, attempt, cancel_requested, waiter_id, outcome, result, completed_at, format_version)
VALUES (
    'v1-completed-inline',
    'double',
    '\x0a580a1c0a08656e636f64696e67121062696e6172792f656e6372797074656412384f004c458f08da4fb43a2a72e16184b0d121a8ffbca8d585e809c44e359ec49fd702d8793d622bd7f682d955b41875adcf9e3c5575b372c0'::bytea,
    'default',
    'stored-workflow',
    '00000000000040008000000000000001'::uuid,
    now(),
    now(),
    1,
    false,
    9000000,
    'completed',
    '\x0a580a1c0a08656e636f64696e67121062696e6172792f656e63727970746564123806b7f084edce81f5610f4c4829fc98261bf0bfd921e0d87141c3420d4e0b82ccfcbb7eaf97982cc55066580d73b634d874d21b60a0bb3044'::bytea,
    now() - interval '1 minute',
    1
);

INSERT INTO custom_task_queue
    (job_id, job_type, input, namespace, workflow_id, run_id, enqueued_at, published_at, attempt, cancel_requested, outcome, result, completed_at, format_version)
VALUES (
    'v1-completed-signal',
    'double',
    '\x0a580a1c0a08656e636f64696e67121062696e6172792f656e637279707465641238e99eb562cf235a4063b3116e6ce33f9b7fb01df691189a282bc13b0a11daa393dbec74fbbec88a93518ac687dbe2cecca3fc50095c09ec02'::bytea,
    'default',
    'stored-workflow',
    '00000000000040008000000000000001'::uuid,
    now(),
    now(),
    1,
    false,
    'completed',
    '\x0a580a1c0a08656e636f64696e67121062696e6172792f656e63727970746564123806b7f084edce81f5610f4c4829fc98261bf0bfd921e0d87141c3420d4e0b82ccfcbb7eaf97982cc55066580d73b634d874d21b60a0bb3044'::bytea,
    now() - interval '1 minute',
    1
);

INSERT INTO custom_task_queue
    (job_id, job_type, input, namespace, workflow_id, run_id, enqueued_at, published_at, attempt, cancel_requested, waiter_id, outcome, result, completed_at, format_version)
VALUES (
    'v1-failed-inline',
    'refuse',
    '\x0a580a1c0a08656e636f64696e67121062696e6172792f656e6372797074656412388500e719e3cabdb2365c5860f1f3a9eab4b60e28cfc50cc33bd674ff653ba481ab984250f9e1e21f619e9574fb5e265f03cb348c4be5d7c2'::bytea,
    'default',
    'stored-workflow',
    '00000000000040008000000000000001'::uuid,
    now(),
    now(),
    1,
    false,
    9000000,
    'failed',
    '\x0ae0020a1c0a08656e636f64696e67121062696e6172792f656e6372797074656412bf02c8c64661a33c4bd113685b62edb3ac131f0453548a1384c3e195a9edbe35b0009f1f1e068bd765698c7be834216ddef37a4e1359fc7be4c4f4e3e3e5c82c6e297d8a24ece0ec3601279f02ee99b040b31d7b2e466a048b2e55bcf1e00479b1fb35568fd7d0b8a4e09a9c78af6f4181ac8f370fb39490e3e32ff5f6cbcea3dc8b574face78bc53c1fc6be6ee3aeb99844048c7131089670ce17ad34247d4d824e14f426fd47ff14c6abff801708ec32abb9a6ef21efe4481ad38661c36416b93a49d3d92fddd87aa8344fbe4760e5ac3d1bffb9d76ec59958dda729f926dafd376a837054bee1510705e380da3902f762728da823f18bc048d326ba676eb86d98d639500fd8211e55a62d5b54738f2b9bc1f906a0fd1cd13a6b0d9c203a680b666bcea3506ac1229fa38a0b5593d070988695228de8ea39de47d0cefc6834e3'::bytea,
    now() - interval '1 minute',
    1
);

INSERT INTO custom_task_queue
    (job_id, job_type, input, namespace, workflow_id, run_id, enqueued_at, published_at, attempt, cancel_requested, outcome, result, completed_at, format_version)
VALUES (
    'v1-failed-signal',
    'refuse',
    '\x0a580a1c0a08656e636f64696e67121062696e6172792f656e6372797074656412383ea958493dd27ce6574c416c6044528e1a3cc8e91d0945ec5fe3aaf42ab08229fa37a3f24ce15f7fca6f0e800d46210b8d75683bfb355ce0'::bytea,
    'default',
    'stored-workflow',
    '00000000000040008000000000000001'::uuid,
    now(),
    now(),
    1,
    false,
    'failed',
    '\x0ae0020a1c0a08656e636f64696e67121062696e6172792f656e6372797074656412bf02c8c64661a33c4bd113685b62edb3ac131f0453548a1384c3e195a9edbe35b0009f1f1e068bd765698c7be834216ddef37a4e1359fc7be4c4f4e3e3e5c82c6e297d8a24ece0ec3601279f02ee99b040b31d7b2e466a048b2e55bcf1e00479b1fb35568fd7d0b8a4e09a9c78af6f4181ac8f370fb39490e3e32ff5f6cbcea3dc8b574face78bc53c1fc6be6ee3aeb99844048c7131089670ce17ad34247d4d824e14f426fd47ff14c6abff801708ec32abb9a6ef21efe4481ad38661c36416b93a49d3d92fddd87aa8344fbe4760e5ac3d1bffb9d76ec59958dda729f926dafd376a837054bee1510705e380da3902f762728da823f18bc048d326ba676eb86d98d639500fd8211e55a62d5b54738f2b9bc1f906a0fd1cd13a6b0d9c203a680b666bcea3506ac1229fa38a0b5593d070988695228de8ea39de47d0cefc6834e3'::bytea,
    now() - interval '1 minute',
    1
);

INSERT INTO custom_task_queue
    (job_id, job_type, input, namespace, workflow_id, run_id, enqueued_at, published_at, deadline, attempt, retry_at, cancel_requested, last_failure, format_version)
VALUES (
    'v1-overdue',
    'double',
    '\x0a580a1c0a08656e636f64696e67121062696e6172792f656e63727970746564123813b18fc370dec8cab7ac308778cb93fd4ec777e029067682e44e52f2b8dce0b4d22d029cd8ab1830a770738b4579c17cdae6b50274446235'::bytea,
    'default',
    'stored-workflow',
    '00000000000040008000000000000001'::uuid,
    now(),
    now(),
    now() - interval '1 second',
    1,
    now() + interval '1 hour',
    false,
    '\x0aa7020a1c0a08656e636f64696e67121062696e6172792f656e63727970746564128602123a696dd4b4d9bd08ea8aa99a059c1e69c8964915d41b11a0955b5ae7d5246ba908f21cae2565cd2405211d94aa9c23be908f814658a71d0d1c595b60660b08a758a5ba12e4065e33938a7216d5679f65348003afb5199619421e2dbea7b9d34088b660e8cdf4a749f4af44b33b8ceb46ecb78039a4949ce932154ba9e818efbe5fa21f0054fd989d41dce20a668278fcf28de4ce68a76e6b56dd5173d85faa3133e89741900e363ebc4f0aa575707f2a7ec96c1641dbba9464ba9a66266409bb0ea04ea3bf7915c1afe87199d5b1bd756495eab1a23b6e6b6a0f65e9238d28f715d10d3fbf54e8081c7083b0d955a0a0547f850f4dc4f0e7135b9a08faec521b82b95809cd'::bytea,
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
    '\x0a580a1c0a08656e636f64696e67121062696e6172792f656e6372797074656412384e2f353f528961c328ea7a44c8a0130b9f80ad77eda230f8f8b86d1d0121868adbf3dc8f2d40473396d30ba27e67aebd6e6501d436ef9fa7'::bytea,
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
    '\x0ae0020a1c0a08656e636f64696e67121062696e6172792f656e6372797074656412bf02c8c64661a33c4bd113685b62edb3ac131f0453548a1384c3e195a9edbe35b0009f1f1e068bd765698c7be834216ddef37a4e1359fc7be4c4f4e3e3e5c82c6e297d8a24ece0ec3601279f02ee99b040b31d7b2e466a048b2e55bcf1e00479b1fb35568fd7d0b8a4e09a9c78af6f4181ac8f370fb39490e3e32ff5f6cbcea3dc8b574face78bc53c1fc6be6ee3aeb99844048c7131089670ce17ad34247d4d824e14f426fd47ff14c6abff801708ec32abb9a6ef21efe4481ad38661c36416b93a49d3d92fddd87aa8344fbe4760e5ac3d1bffb9d76ec59958dda729f926dafd376a837054bee1510705e380da3902f762728da823f18bc048d326ba676eb86d98d639500fd8211e55a62d5b54738f2b9bc1f906a0fd1cd13a6b0d9c203a680b666bcea3506ac1229fa38a0b5593d070988695228de8ea39de47d0cefc6834e3'::bytea,
    'v1-dead',
    'double',
    '\x0a580a1c0a08656e636f64696e67121062696e6172792f656e637279707465641238b31bebbaa7cd8594f39c057e53205c6e806997be2aaa5933dfc7ef796338f102b26b4c0027196325a548649a2f97303c3bcb50d91a3531cd'::bytea,
    'default',
    'stored-workflow',
    '00000000000040008000000000000001'::uuid,
    1,
    now(),
    now(),
    1
);
