import Machine
import Node
import Primitives
import Reactor

/// What a node and a witness both do to be in touch with the others.
extension Pulse {
    /// The machine's network is another one now.
    nonisolated func changed(_ network: NetworkState, port: UInt16) {
        post(.network(isUp: network.isUp))
        post(.addressesChanged(network.addresses.map { Endpoint($0.address, port: port) }))
    }

    /// Knocks at what is configured until the task is cancelled: every second while nobody is known, else now and then, since
    /// a name may lead elsewhere one day. Names are looked up by `worker`, which may wait.
    nonisolated func knock(at targets: [String], on loop: EventLoop, lookingUpBy worker: EventLoop) async {
        while !Task.isCancelled, !targets.isEmpty {
            for target in targets {
                let found = await worker.run {
                    NameLookup.endpoints(of: target, defaultPort: Configuration.defaultPort)
                }
                found.forEach { post(.sighted($0)) }
            }
            let isAlone = await isAlone
            guard (try? await loop.sleep(for: isAlone ? .seconds(1) : .seconds(30))) != nil else { return }
        }
    }
}
