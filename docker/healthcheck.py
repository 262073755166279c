#!/opt/delegator/bin/python -I
"""`healthcheck [PATH [PORT [https]]]`: ends with 0 if the process in this container answers 200 there, else with 1.

`livez` says whether the process makes progress, `readyz` also whether its servers answer.
"""

import ssl
import sys
from http.client import HTTPConnection, HTTPException, HTTPSConnection


def main() -> int:
    """Ask, print the answer, and return the exit code."""
    path = sys.argv[1] if len(sys.argv) > 1 else "livez"
    port = int(sys.argv[2]) if len(sys.argv) > 2 else 9090
    if sys.argv[3:] == ["https"]:
        # The certificate has the name by which others reach the process. Here it is asked by its address.
        connection: HTTPConnection = HTTPSConnection(
            "127.0.0.1", port, timeout=3, context=ssl._create_unverified_context()
        )
    else:
        connection = HTTPConnection("127.0.0.1", port, timeout=3)
    try:
        connection.request("GET", f"/{path}")
        answer = connection.getresponse()
        print(answer.status, answer.read(2_000).decode(errors="replace"))
    except (OSError, HTTPException) as error:
        print(f"no answer at port {port}: {error}")
        return 1
    return int(answer.status != 200)


if __name__ == "__main__":
    sys.exit(main())
