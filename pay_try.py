import asyncio, sys, time, json, sqlite3, mailbox, os
import aiohttp, psycopg
from examples.payments.system import *
from examples.payments.account.accounts import *
async def main():
    t=time.time()
    async with running_system(Dispatch(sys.argv[1])) as s:
            stack=s.stack
            print("services", time.time()-t)
            await open_accounts([Account("alice", 10000, phone="+491")])
            async with aiohttp.ClientSession(s.url("api")) as h:
                for i in range(3):
                    t=time.time()
                    r=await h.post("/payments", json=dict(user_id="alice",amount=100,currency="EUR",method="card"), headers={"Idempotency-Key":f"k{i}","Prefer":"wait=5"})
                    b=await r.json(); print(r.status, b, time.time()-t)
                    for _ in range(80):
                        r=await h.get(b["links"]["self"]); st=await r.json()
                        if st.get("stage")=="done": break
                        await asyncio.sleep(.1)
                    print(time.time()-t, json.dumps(st)[:400])
            with psycopg.connect(stack.database_url) as c:
                print(c.execute("select * from payments_account.entries").fetchall())
            print(sqlite3.connect(s.provider_ledger).execute("select * from charges").fetchall(), len(mailbox.Maildir(s.mailbox)))
            from temporalio.client import Client
            cl=await Client.connect(stack.temporal_address)
            hist=await cl.get_workflow_handle("payment-"+b["payment_id"]).fetch_history()
            print(len(hist.events)); 
            for n in sys.argv[2:]: print((s.directory/f"{n}.log").read_text())
asyncio.run(main())
