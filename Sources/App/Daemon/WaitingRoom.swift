import Crypto
import Discovery
import Logging
import Machine
import Primitives
import Reactor
import Transport
import Wire

/// A machine without a cluster key: announces itself, takes one invitation, and watches for a key file that somebody
/// copies here. It ends when it has a key.
final class WaitingRoom: Sendable {
    private let home: Home
    private let configuration: Configuration
    private let loop: EventLoop
    private let listener: InvitationListener
    private let discovery: ServiceDiscovery?
    private let network: Addresses
    private let keyWatch: ClusterKeyFile.Watch

    /// `found` is called once or more, with a key and where members are.
    init(
        home: Home, configuration: Configuration, loop: EventLoop, worker: EventLoop,
        found: @escaping @Sendable (ClusterKey, [Endpoint]) -> Void
    ) throws {
        self.home = home
        self.configuration = configuration
        self.loop = loop
        let announced = Locked<ServiceDiscovery?>(nil)
        network = try Addresses(on: loop, configured: configuration.addresses) { network in
            guard let discovery = announced.withLock({ $0 }) else { return }
            Task { await discovery.announce(addresses: network.published) }
        }
        listener = try InvitationListener(
            identity: home.identity, loop: loop, port: configuration.port, addresses: configuration.addresses,
            software: Version.current
        ) { key, invitation, inviter, endpoint in
            let isStored = await worker.run { Self.store(key, home) }
            guard isStored else { return false }
            Log.info("\(endpoint) (code \(inviter.code)) gave this machine the key of cluster “\(key.name)”")
            found(key, invitation.members)
            return true
        }
        discovery =
            configuration.discovers
            ? ServiceDiscovery(
                on: loop,
                announcing: Announcement(
                    version: UInt16(Version.protocolVersion), id: home.identity.id,
                    role: .waiting(name: configuration.name)), port: configuration.port,
                addresses: network.current.published, scope: .waitingMachines) : nil
        announced.withLock { [discovery] in $0 = discovery }
        keyWatch = home.keyFile.watch(on: loop) { result in
            do {
                found(try ClusterKey(text: try result.get()), [])
            } catch let error as any OperatorError {
                Log.warning("\(error.problem). \(error.remedy)")
            } catch {
                Log.warning("the cluster key cannot be used: \(error)")
            }
        }
    }

    func start() async {
        await discovery?.start()
        Log.warning(
            "this machine has no cluster key that it can use (\(home.keyFile.path)): it waits to be added. Its code is "
                + "\(home.identity.id.code). On a member: bramble node add \(configuration.name). Or copy cluster.key from a "
                + "member into \(home.directory.path). Or make a new cluster: bramble init --cluster NAME")
    }

    func stop() async {
        keyWatch.cancel()
        await discovery?.stop()
        await listener.stop()
    }

    private static func store(_ key: ClusterKey, _ home: Home) -> Bool {
        do throws(DataDirectoryError) {
            // One that cannot be used opens nothing: whoever adds this machine has decided which it should have.
            let isBroken = home.keyFile.exists && home.clusterKey() == nil
            if isBroken { try home.keyFile.replace(with: key.text) } else { try home.keyFile.create(key.text) }
            return true
        } catch {
            Log.error("the cluster key of an invitation could not be stored: \(error.problem). \(error.remedy)")
            return false
        }
    }
}
