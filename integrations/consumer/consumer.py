"""A correct consumer of revocation-hub in forty lines, Python's own library only. docs/clients.md explains it."""
import json, random, time, urllib.error, urllib.request

class Revocations:
    def __init__(self, hub, headers=None, max_age=30.0):
        self.hub, self.headers, self.max_age = hub, headers or {}, max_age
        self.live, self.cursor, self.current_at = {}, None, None  # by id; where we stand; as of when that is true

    def is_stale(self):
        """Whether it is too long ago that this list was known to be whole. What then happens is the gateway's decision."""
        return self.current_at is None or time.time() - self.current_at > self.max_age

    def get(self, path, **headers):
        request = urllib.request.Request(self.hub + path, headers={**self.headers, **headers})
        return urllib.request.urlopen(request, timeout=30)  # bookmarks and comments come far more often than that

    def load(self):
        body = json.load(self.get("/v1/revocations", Accept="application/json"))
        self.live = {r["id"]: r for r in body["revocations"]}  # replaced at once, never emptied first
        self.cursor = body["cursor"]

    def follow(self):
        event, data, cursor = None, "", self.cursor
        for line in (raw.decode().rstrip("\n") for raw in self.get("/v1/events", **{"Last-Event-ID": self.cursor})):
            field, _, value = line.partition(": ")
            if field == "event": event = value
            elif field == "data": data = value
            elif field == "id": cursor = value
            elif not line and event:
                if event == "reset": self.cursor = None; return  # another log: load the list again
                if event == "revoked": r = json.loads(data); self.live[r["id"]] = r
                elif event == "lifted": self.live.pop(json.loads(data)["id"], None)
                elif event == "bookmark": self.current_at = json.loads(data)["time"]
                self.cursor, event = cursor, None  # only what was taken in whole is behind us

    def run(self):
        while True:
            try:
                if self.cursor is None: self.load()
                self.follow()  # ends at the stream's age, at a reset, when a replica stops; come back with the cursor
                pause = 0
            except urllib.error.HTTPError as e: pause = float(e.headers.get("Retry-After") or 1)
            except (OSError, ValueError): pause = 1  # keep what we have: it stays true, it only grows old
            time.sleep(pause + random.random())
