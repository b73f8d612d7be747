import Crypto
import Leases
import Logging
import Machine
import Membership
import Node
import Primitives
import Reactor

/// What a node finds, or makes, in its data directory at start: who it is, and what it knew.
struct Home: Sendable {
    let directory: DataDirectory
    let identity: Identity
    let birth: UInt32
    let generation: UInt32

    /// Opens and locks the directory, makes an identity where there is none or where it was copied from another machine,
    /// and persists the generation: all before the first packet.
    init(opening path: String) throws {
        directory = try DataDirectory(opening: path)
        generation = try directory.nextGeneration(wallSeconds: SystemClock.wallNanoseconds / 1_000_000_000)
        let hardware = HardwareFingerprint.current(dataDirectory: path)
        switch try directory.identity(on: hardware) {
        case .kept(let stored):
            identity = try Identity(pem: stored.privateKey)
            birth = stored.birth
            return
        case .none: break
        case .fromOtherMachine(let reason):
            Log.info("this data directory was copied from another machine (\(reason)): this one takes a new identity")
        // What the other machine knew of the cluster stays; that it was the other machine does not.
        }
        identity = Identity.generate()
        birth = generation
        try directory.store(StoredIdentity(privateKey: identity.pem, birth: birth, hardware: hardware))
    }

    var keyFile: ClusterKeyFile { ClusterKeyFile(in: directory.path) }

    /// The cluster key; nil when there is none, or none that can be used, which is told.
    func clusterKey() -> ClusterKey? {
        do {
            return try keyFile.read().map { text in try ClusterKey(text: text) }
        } catch let error as any OperatorError {
            Log.warning("\(error.problem). \(error.remedy)")
        } catch {
            Log.warning("the cluster key cannot be used: \(error)")
        }
        return nil
    }

    /// The newest key, in place of the one in the file. Blocking.
    func replaceKey(with key: ClusterKey) {
        do throws(DataDirectoryError) {
            try keyFile.replace(with: key.text)
        } catch {
            Log.error("the new cluster key could not be written: \(error.problem). \(error.remedy)")
        }
    }

    func savedMembers() -> [MemberRecord] { load(.members, SavedState.members) ?? [] }
    /// Trust facts; and what an earlier version kept with them, which belongs into the database.
    func savedFacts() -> (trust: SharedFacts, legacy: [StoredFact]) {
        var facts = load(.facts, SavedState.facts) ?? SharedFacts()
        let legacy = facts.takeOthers()
        return (facts, legacy)
    }

    func savedLeases() -> LeaseMemory { load(.leases, SavedState.leases) ?? LeaseMemory() }

    /// What is damaged is set aside and told; the cluster brings it back.
    private func load<Value>(_ file: DataDirectory.File, _ decode: ([UInt8]) -> Value?) -> Value? {
        do throws(DataDirectoryError) {
            guard let bytes = try directory.read(file) else { return nil }
            if let value = decode(bytes) { return value }
            throw try directory.setAside(file)
        } catch {
            Log.warning("\(error.problem). \(error.remedy)")
            return nil
        }
    }

    /// The ring of this cluster's keys: the one in the file, and those among the facts.
    ///
    /// Where both have one of the same version, the facts are right: two removals at once made two keys, and the facts'
    /// rule chose one of them on every node.
    static func keyRing(_ current: ClusterKey, facts: SharedFacts) -> ClusterKeyRing {
        let known = facts.keys(prefix: FactKey.clusterKeys).compactMap { key in
            facts[key].flatMap { try? ClusterKey(text: String(decoding: $0, as: UTF8.self)) }
        }.filter { $0.name == current.name }
        guard let newest = known.max(by: { $0.version < $1.version }), newest.version >= current.version else {
            return ClusterKeyRing(current: current, older: known)
        }
        let own = known.contains { $0.version == current.version } ? [] : [current]
        return ClusterKeyRing(current: newest, older: known.filter { $0 != newest } + own)
    }

    // MARK: The first password

    /// Written by `bramble init`, which may run beside a waiting daemon; taken over by the daemon into the database.
    private static let firstPasswordFile = "first-password"

    static func leaveFirstPassword(_ hash: [UInt8], in path: String) throws(DataDirectoryError) {
        try DataDirectory.leaveNote(hash, named: firstPasswordFile, in: path)
    }

    /// The hash. It stays until it is in the database.
    func firstPassword() -> [UInt8]? { directory.note(named: Self.firstPasswordFile) }
    func dropFirstPassword() { directory.dropNote(named: Self.firstPasswordFile) }

    /// After the removal from a cluster: key, members and facts are moved out of use, the identity is given up.
    func wipe() {
        keyFile.remove()
        for file in DataDirectory.File.allCases where file != .generation { directory.remove(file) }
    }
}
