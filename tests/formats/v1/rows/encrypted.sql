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
    '\x0aa7020a1c0a08656e636f64696e67121062696e6172792f656e6372797074656412860231c81d6dcc8cc99c91b49c18fcc2860cfd195296444a44f50fb8605fed674cf6897330aff0eefb6b9be9e21d601333dfd7888f9f33c4b040f9090f9b65dfe2410719c6478792841353b3284476ce98731320a0b9a6f583093edf6eb726814ff142c0a40b75b5bbdbff970d7b66de20965d679beac75d9ca022dac67c13742f3f52e7054c84dc0ae09a8f434d14e8a38d0ec17a1337d0c5b37e2dafb5494709d0bfe240476ea16f41370a42c2b9e2a35a8feeff5e610f771078364ad694affe512ef92b3c0d1a88f680faf73597cf2e1a2172d50c0cda04bc25b5a0cc9e60273cb8e041b6883236cc0e4e10a8473df3d95ee577ac2c5cb52b17d98053ec49dd8acb8bdd85321a'::bytea,
    '\x0a5c0a1c0a08656e636f64696e67121062696e6172792f656e63727970746564123c5309feb45913cce462629f1720492c29370cf36bcf2b07de75aeb3f672753f1bdf5562947b3cb6e9f2df34baee81c96041e7812483db77723d92dbc10a580a1c0a08656e636f64696e67121062696e6172792f656e63727970746564123896d9b01ecc0375b5c492b90fe35a66b5c8e684d937c8828d5069c779ce967f9ca43768fd9b9d0dccd2a9c31d0879af53ef12a5cdb2112fe5'::bytea,
    1
);

INSERT INTO custom_task_queue
    (job_id, job_type, input, namespace, workflow_id, run_id, enqueued_at, published_at, attempt, cancel_requested, waiter_id, outcome, result, completed_at, format_version)
VALUES (
    'v1-completed-inline',
    'double',
    '\x0a580a1c0a08656e636f64696e67121062696e6172792f656e637279707465641238c5973a004d0c58b9e6cee3581fa66eee637eda24d463ba5f91004837a14aa9d7fb51d114bb47bd656dfe736d8e4e1b969860f05316c4f32f'::bytea,
    'default',
    'stored-workflow',
    '00000000000040008000000000000001'::uuid,
    now(),
    now(),
    1,
    false,
    9000000,
    'completed',
    '\x0a580a1c0a08656e636f64696e67121062696e6172792f656e6372797074656412389e24f26968deeafefa9c9dd7bfd6016886f6c46095e527e4c604be418bf8ce9ab3e8b6c8880f3745a3f5b392b0adb4924003ca180452de2c'::bytea,
    now() - interval '1 minute',
    1
);

INSERT INTO custom_task_queue
    (job_id, job_type, input, namespace, workflow_id, run_id, enqueued_at, published_at, attempt, cancel_requested, outcome, result, completed_at, format_version)
VALUES (
    'v1-completed-signal',
    'double',
    '\x0a580a1c0a08656e636f64696e67121062696e6172792f656e6372797074656412381de153c709511c5ba235bd53ca52ac387e0f416faabb99ca0e6624d87f18666127bbe96594656b24356f4254c42da0d91f382f19a6e0829b'::bytea,
    'default',
    'stored-workflow',
    '00000000000040008000000000000001'::uuid,
    now(),
    now(),
    1,
    false,
    'completed',
    '\x0a580a1c0a08656e636f64696e67121062696e6172792f656e6372797074656412389e24f26968deeafefa9c9dd7bfd6016886f6c46095e527e4c604be418bf8ce9ab3e8b6c8880f3745a3f5b392b0adb4924003ca180452de2c'::bytea,
    now() - interval '1 minute',
    1
);

INSERT INTO custom_task_queue
    (job_id, job_type, input, namespace, workflow_id, run_id, enqueued_at, published_at, attempt, cancel_requested, waiter_id, outcome, result, completed_at, format_version)
VALUES (
    'v1-failed-inline',
    'refuse',
    '\x0a580a1c0a08656e636f64696e67121062696e6172792f656e637279707465641238fb40d3e03ddca384d396dec64149ba34656e0ad06a135f49f65b0a318229ce9112be222166926d4c92109a88d8e24360afaf0bf6736c0277'::bytea,
    'default',
    'stored-workflow',
    '00000000000040008000000000000001'::uuid,
    now(),
    now(),
    1,
    false,
    9000000,
    'failed',
    '\x0ae0020a1c0a08656e636f64696e67121062696e6172792f656e6372797074656412bf02be1bf6db200d7e9acba4175227c19e40656e365593eaa3b0d44e47bc87480abb00ac8986daa599ecdb3683e2c0568bfa6cc582cfd34034b628118538a33bc73a3bf6890f1758f06ecf4a85bfef5cd8ea9da3e1a5dcebf6d80c225778666e980fd13bc3410cfc717dac270deae013afacb255b524f23163a9561807fff09f0fd4f66bedfd9c460586bfb592c4dccf6fdc97bee513cedfe2858731ec14d7e5d07d130ccac904c5e32451e6ec5132b41f8fafdbef961172ac34102a6e4ce6555aec4a1e68c0ab1c194723d14bd59f2a8969660c2f2a43f9ce76960cd434486f11edf9af015dbc4ef00263b03c90e6b4b995ee6881c2c726cf50e24724f6914f133e0732c3cc81e6bd9a4c2fa0ad24793629a133f07ddf21dcc9676302cd39618ad0b7246ea1e31faa5d5c07dc5740ef84cb16a0f5c6fa9b823a328ebb1bfb6ea8'::bytea,
    now() - interval '1 minute',
    1
);

INSERT INTO custom_task_queue
    (job_id, job_type, input, namespace, workflow_id, run_id, enqueued_at, published_at, attempt, cancel_requested, outcome, result, completed_at, format_version)
VALUES (
    'v1-failed-signal',
    'refuse',
    '\x0a580a1c0a08656e636f64696e67121062696e6172792f656e637279707465641238007568c334ea13ede17b14e65669f0e769b302faa8ddae61b1f78ea279712d2d952e77cf77b9f15e84c1809044f75d283153151efd8b9689'::bytea,
    'default',
    'stored-workflow',
    '00000000000040008000000000000001'::uuid,
    now(),
    now(),
    1,
    false,
    'failed',
    '\x0ae0020a1c0a08656e636f64696e67121062696e6172792f656e6372797074656412bf02be1bf6db200d7e9acba4175227c19e40656e365593eaa3b0d44e47bc87480abb00ac8986daa599ecdb3683e2c0568bfa6cc582cfd34034b628118538a33bc73a3bf6890f1758f06ecf4a85bfef5cd8ea9da3e1a5dcebf6d80c225778666e980fd13bc3410cfc717dac270deae013afacb255b524f23163a9561807fff09f0fd4f66bedfd9c460586bfb592c4dccf6fdc97bee513cedfe2858731ec14d7e5d07d130ccac904c5e32451e6ec5132b41f8fafdbef961172ac34102a6e4ce6555aec4a1e68c0ab1c194723d14bd59f2a8969660c2f2a43f9ce76960cd434486f11edf9af015dbc4ef00263b03c90e6b4b995ee6881c2c726cf50e24724f6914f133e0732c3cc81e6bd9a4c2fa0ad24793629a133f07ddf21dcc9676302cd39618ad0b7246ea1e31faa5d5c07dc5740ef84cb16a0f5c6fa9b823a328ebb1bfb6ea8'::bytea,
    now() - interval '1 minute',
    1
);

INSERT INTO custom_task_queue
    (job_id, job_type, input, namespace, workflow_id, run_id, enqueued_at, published_at, deadline, attempt, retry_at, cancel_requested, last_failure, format_version)
VALUES (
    'v1-overdue',
    'double',
    '\x0a580a1c0a08656e636f64696e67121062696e6172792f656e637279707465641238ffafabd70f0ae025b366f428ee91150f19cd71e2631ae82ee3c4cab77f501024c41986dc029e0d71cb0a1fdd626a6369d4140b917e525851'::bytea,
    'default',
    'stored-workflow',
    '00000000000040008000000000000001'::uuid,
    now(),
    now(),
    now() - interval '1 second',
    1,
    now() + interval '1 hour',
    false,
    '\x0aa7020a1c0a08656e636f64696e67121062696e6172792f656e6372797074656412860231c81d6dcc8cc99c91b49c18fcc2860cfd195296444a44f50fb8605fed674cf6897330aff0eefb6b9be9e21d601333dfd7888f9f33c4b040f9090f9b65dfe2410719c6478792841353b3284476ce98731320a0b9a6f583093edf6eb726814ff142c0a40b75b5bbdbff970d7b66de20965d679beac75d9ca022dac67c13742f3f52e7054c84dc0ae09a8f434d14e8a38d0ec17a1337d0c5b37e2dafb5494709d0bfe240476ea16f41370a42c2b9e2a35a8feeff5e610f771078364ad694affe512ef92b3c0d1a88f680faf73597cf2e1a2172d50c0cda04bc25b5a0cc9e60273cb8e041b6883236cc0e4e10a8473df3d95ee577ac2c5cb52b17d98053ec49dd8acb8bdd85321a'::bytea,
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
    '\x0a580a1c0a08656e636f64696e67121062696e6172792f656e637279707465641238a304c7482185ef1645656152a54fe14f87081a68e4d74819f3d8b8f49b003ed328e02862dddd5a45319294656c7043a30ed7756b1b0a6930'::bytea,
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
    '\x0ae0020a1c0a08656e636f64696e67121062696e6172792f656e6372797074656412bf02be1bf6db200d7e9acba4175227c19e40656e365593eaa3b0d44e47bc87480abb00ac8986daa599ecdb3683e2c0568bfa6cc582cfd34034b628118538a33bc73a3bf6890f1758f06ecf4a85bfef5cd8ea9da3e1a5dcebf6d80c225778666e980fd13bc3410cfc717dac270deae013afacb255b524f23163a9561807fff09f0fd4f66bedfd9c460586bfb592c4dccf6fdc97bee513cedfe2858731ec14d7e5d07d130ccac904c5e32451e6ec5132b41f8fafdbef961172ac34102a6e4ce6555aec4a1e68c0ab1c194723d14bd59f2a8969660c2f2a43f9ce76960cd434486f11edf9af015dbc4ef00263b03c90e6b4b995ee6881c2c726cf50e24724f6914f133e0732c3cc81e6bd9a4c2fa0ad24793629a133f07ddf21dcc9676302cd39618ad0b7246ea1e31faa5d5c07dc5740ef84cb16a0f5c6fa9b823a328ebb1bfb6ea8'::bytea,
    'v1-dead',
    'double',
    '\x0a580a1c0a08656e636f64696e67121062696e6172792f656e637279707465641238988a103ac0bfe218aeffb2550fde6585ca688b240d627c095f95ed46aa5d71598658a0b9ff5f00588a556287b7a53e3592b355006078f111'::bytea,
    'default',
    'stored-workflow',
    '00000000000040008000000000000001'::uuid,
    1,
    now(),
    now(),
    1
);
