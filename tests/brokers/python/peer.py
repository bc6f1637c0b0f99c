"""An AMQP 1.0 peer that is not the hub: listens on a port, sends what standard input says, prints what comes.

In:   map TOKEN | string TEXT | data TYPE TEXT | sequence | nested
Out:  listening, receiver NAME DURABLE, sender, sent N, accepted N, other N, got JSON, closed, gone
"""
import json
import sys
import threading

from proton import Data, Delivery, Message, Terminus, symbol
from proton.handlers import MessagingHandler
from proton.reactor import ApplicationEvent, Container, EventInjector


def say(text):
    print(text, flush=True)


class Peer(MessagingHandler):
    def __init__(self, port, injector):
        super().__init__(prefetch=200, auto_accept=False, auto_settle=True)
        self.port, self.injector = port, injector
        self.links, self.waiting, self.numbers, self.count = [], [], {}, 0

    def on_start(self, event):
        event.container.selectable(self.injector)
        self.listener = event.container.listen("127.0.0.1:%d" % self.port)
        say("listening")

    def on_link_opening(self, event):
        link = event.link
        link.source.copy(link.remote_source)
        link.target.copy(link.remote_target)
        if link.is_sender:
            self.links = [link]
            say("receiver %s %s" % (link.name, link.remote_source.durability == Terminus.DELIVERIES))
        else:
            say("sender")

    def on_sendable(self, event):
        self.flush()

    def on_command(self, event):
        kind, _, rest = event.subject.partition(" ")
        if kind == "map":
            body = {"eventId": "e", "revokedToken": rest, "ttl": "0123", "expiryTime": 4102444800000, "type": "JWT"}
            message = Message(body=body)
        elif kind == "string":
            message = Message(body=rest)
        elif kind == "data":
            content_type, _, text = rest.partition(" ")
            message = Message(body=text.encode(), inferred=True, content_type=content_type)
        elif kind == "sequence":
            message = Message(body=["a"], inferred=True)
        else:
            deep = "x"
            for _ in range(100):
                deep = [deep]
            message = Message(body={"revokedToken": "after-nested", "type": "JWT", "deep": deep})
        self.waiting.append(message)
        self.flush()

    def flush(self):
        while self.waiting and self.links and self.links[0].credit > 0:
            delivery = self.links[0].send(self.waiting.pop(0))
            self.count += 1
            self.numbers[delivery.tag] = self.count
            say("sent %d" % self.count)

    def on_accepted(self, event):
        say("accepted %d" % self.numbers.get(event.delivery.tag, 0))

    def on_rejected(self, event):
        say("other %d" % self.numbers.get(event.delivery.tag, 0))

    on_released = on_rejected

    def on_message(self, event):
        message = event.message
        annotations = {str(k): v for k, v in (message.annotations or {}).items()}
        body = bytes(message.body).decode() if isinstance(message.body, (bytes, memoryview)) else message.body
        say("got " + json.dumps({
            "body": body, "type": message.content_type, "durable": message.durable,
            "origin": (message.properties or {}).get("revocation-hub"), "jms": annotations.get("x-opt-jms-msg-type"),
        }))
        self.accept(event.delivery)

    def on_link_closed(self, event):
        say("closed")

    def on_transport_closed(self, event):
        self.links = []
        say("gone")


injector = EventInjector()
peer = Peer(int(sys.argv[1]), injector)


def commands():
    for line in sys.stdin:
        injector.trigger(ApplicationEvent("command", subject=line.rstrip("\n")))


threading.Thread(target=commands, daemon=True).start()
Container(peer).run()
