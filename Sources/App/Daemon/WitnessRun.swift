import Crypto
import Logging
import Machine
import Primitives
import Reactor

extension Daemon {
    private enum WitnessNews: Sendable {
        case stop
        case key(ClusterKey, [Endpoint])
        case removed(by: String?)
    }

    /// One run of `bramble witness`: waits for a key where there is none, then votes until SIGTERM or SIGINT.
    ///
    /// - Returns: 0. After a removal too: started again, it waits for a new key.
    package static func witness(_ settings: Settings) async throws -> Int32 {
        let manager = ServiceManager()
        let (loop, worker) = (EventLoop(name: "loop"), EventLoop(name: "worker"))
        let home = try Home(opening: settings.dataDirectory ?? Configuration.defaultDataDirectory)
        let configuration = Configuration(settings, hostName: hostName(), code: home.identity.id.code)
        let (news, tell) = AsyncStream<WitnessNews>.makeStream(bufferingPolicy: .bufferingNewest(16))
        let watcher = Signals(on: loop) { if $0 != .hangUp { tell.yield(.stop) } }
        defer { withExtendedLifetime(watcher) {} }
        func join(_ key: ClusterKey, meeting members: [Endpoint]) async throws -> WitnessMember {
            let member = try WitnessMember(
                home: home, key: key, meeting: members, configuration: configuration, loop: loop, worker: worker
            ) { tell.yield(.removed(by: $0)) }
            await member.start()
            return member
        }

        var member: WitnessMember?
        var room: WaitingRoom?
        if let key = home.clusterKey() {
            member = try await join(key, meeting: [])
        } else {
            let waiting = try WaitingRoom(home: home, configuration: configuration, loop: loop, worker: worker) {
                tell.yield(.key($0, $1))
            }
            await waiting.start()
            room = waiting
        }
        manager.ready(status: "witness, code \(home.identity.id.code)")
        let pulse = Locked(member?.pulse)
        let watchdog = Task {
            guard let interval = manager.watchdogInterval else { return }
            while (try? await loop.sleep(for: interval / 2)) != nil {
                // A wedged pulse is what the watchdog is for.
                _ = await pulse.withLock { $0 }?.isAlone
                manager.alive()
            }
        }
        defer { watchdog.cancel() }
        arrivals: for await one in news {
            switch one {
            case .stop: break arrivals
            case .key(let key, let members):
                // An invitation and a copied file may tell of the same key.
                guard let waited = room.take() else { continue }
                // The streams' port has to be free, and the answer to the inviter to be out.
                try? await loop.sleep(for: .milliseconds(200))
                await waited.stop()
                member = try await join(key, meeting: members)
                pulse.withLock { $0 = member?.pulse }
            case .removed(let remover):
                Log.info(
                    "this witness was removed from its cluster\(remover.map { " by \($0)" } ?? ""): what it knew is wiped. "
                        + "Started again, it waits for a new key")
                break arrivals
            }
        }
        manager.stopping()
        await room?.stop()
        await member?.stop()
        Log.info("stopped")
        return 0
    }
}
