#!/opt/delegator/bin/python -I
"""`healthcheck [PATH [PORT]]`: ends with 0 if the process in this container answers 200 there, else with 1.

`livez` says whether the process makes progress, `readyz` also whether its servers answer.
"""

import sys
from http.client import HTTPConnection, HTTPException


def main() -> int:
    """Ask, print the answer, and return the exit code."""
    path = sys.argv[1] if len(sys.argv) > 1 else "livez"
    port = int(sys.argv[2]) if len(sys.argv) > 2 else 9090
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
