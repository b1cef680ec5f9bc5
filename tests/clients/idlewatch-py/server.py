"""A gRPC server with the defaults of grpcio, for the test of idle watches.

    server.py DIR...   the directories of idlewatch.proto and of what it imports

It says "listening ADDRESS". For each line on standard input one Pulse happens: every watch is told, and it says
"sent to N of M": the watches that are open, and all that were ever opened. It ends with its standard input.
"""

import importlib.resources
import queue
import sys
import threading
from concurrent import futures

import grpc
from grpc_reflection.v1alpha import reflection

# There is no generated code: grpcio-tools compiles the .proto files when they are asked for.
sys.path.extend(sys.argv[1:])
sys.path.append(str(importlib.resources.files("grpc_tools") / "_proto"))
protos, services = grpc.protos_and_services("idlewatch.proto")
contract = grpc.protos("kubridge/v1/requests.proto")


class Pulses(services.PulsesServicer):
    def __init__(self):
        self.lock = threading.Lock()
        self.version = 1
        self.watches = set()
        self.opened = 0

    def event(self, kind, **more):
        return protos.PulseEvent(type=kind, resource_version=str(self.version), **more)

    def happen(self):
        """Tells every open watch of a new Pulse; how many are open, and how many ever were."""
        with self.lock:
            self.version += 1
            version = str(self.version)
            pulse = protos.Pulse(metadata={"name": f"pulse-{version}", "resource_version": version})
            for events in self.watches:
                events.put(self.event(contract.ADDED, object=pulse))
            return len(self.watches), self.opened

    def ListPulses(self, request, context):
        with self.lock:
            return protos.ListPulsesResponse(metadata={"resource_version": str(self.version)})

    def WatchPulses(self, request, context):
        events = queue.SimpleQueue()
        context.add_callback(lambda: events.put(None))
        with self.lock:
            self.watches.add(events)
            self.opened += 1
            first = self.event(contract.SYNCED)
        try:
            yield first
            while (event := events.get()) is not None:
                yield event
        finally:
            with self.lock:
                self.watches.discard(events)


def main():
    # Each open stream holds a thread.
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    pulses = Pulses()
    services.add_PulsesServicer_to_server(pulses, server)
    name = protos.DESCRIPTOR.services_by_name["Pulses"].full_name
    reflection.enable_server_reflection((name, reflection.SERVICE_NAME), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"listening 127.0.0.1:{port}", flush=True)
    for _ in sys.stdin:
        open_now, opened = pulses.happen()
        print(f"sent to {open_now} of {opened}", flush=True)
    server.stop(grace=None)


if __name__ == "__main__":
    main()
