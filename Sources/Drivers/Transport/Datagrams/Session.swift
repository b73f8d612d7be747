import Crypto
import Primitives
import Wire

/// Keys and counters shared with one peer. Belongs to `Sessions` alone and never leaves it.
final class Session {
    let peer: PeerHello
    let keyVersion: UInt32
    /// What the peer writes into its datagrams, and what we write into ours.
    let localIndex: UInt32
    let remoteIndex: UInt32
    let isInitiator: Bool
    private let sealer: SealingKey
    private let opener: SealingKey
    private var window = ReplayWindow()
    private(set) var sent: UInt64 = 0
    let madeAt: Instant
    /// When it came into use; for the side that answered, when the other first proved that it has the keys.
    var openedAt: Instant
    /// The other side showed that it has the keys: something of it arrived.
    var isProven = false
    var lastReceived: Instant
    var lastPath: Endpoint
    var nextRekey: Instant
    /// When we may knock again at a peer that we send to and do not hear.
    var nextRevival: Instant
    /// Ours only: the empty datagram that proves us to the other side, until something of it arrives.
    var nextProof: (at: Instant, tries: Int)?

    init(
        peer: PeerHello, keyVersion: UInt32, local: UInt32, remote: UInt32, isInitiator: Bool, keys: SessionKeys,
        path: Endpoint, now: Instant
    ) {
        self.peer = peer
        self.keyVersion = keyVersion
        localIndex = local
        remoteIndex = remote
        self.isInitiator = isInitiator
        sealer = .sealing(with: isInitiator ? keys.toResponder : keys.toInitiator)
        opener = .opening(with: isInitiator ? keys.toInitiator : keys.toResponder)
        madeAt = now
        openedAt = now
        lastReceived = now
        lastPath = path
        nextRekey = now
        nextRevival = now
    }

    func seal(_ payload: [UInt8]) -> [UInt8] {
        defer { sent += 1 }
        return sealer.seal(payload, counter: sent, header: Packet.dataHeader(receiver: remoteIndex, counter: sent))
    }

    enum Opened { case payload([UInt8]), replayed, badSeal }

    /// - Parameter datagram: a whole data packet, at least header and seal long.
    func open(_ datagram: UnsafeRawBufferPointer, counter: UInt64) -> Opened {
        guard window.isNew(counter) else { return .replayed }
        let header = UnsafeRawBufferPointer(rebasing: datagram.prefix(Packet.dataHeaderSize))
        let sealed = UnsafeRawBufferPointer(rebasing: datagram.dropFirst(Packet.dataHeaderSize))
        guard let payload = opener.open(sealed, counter: counter, header: header) else { return .badSeal }
        // Only now: a forged counter must not push genuine packets out of the window.
        window.take(counter)
        return .payload(payload)
    }
}

/// One key for each direction.
struct SessionKeys {
    let toResponder: Secret
    let toInitiator: Secret

    /// - Parameter agreed: what the two ephemeral keys agreed on.
    /// - Parameter transcript: the hash of the hello and of the reply, as they were sent.
    init(cluster: ClusterKey, agreed: Secret, initiator: NodeID, responder: NodeID, transcript: [UInt8]) {
        let salt = cluster.derived(for: "sessions")
        let info = { (direction: String) -> [UInt8] in
            Array("bramble session 1 \(direction)".utf8) + initiator.bytes + responder.bytes + transcript
        }
        toResponder = KeyDerivation.derive(
            SealingKey.keySize, from: agreed, salt: salt, info: info("to responder"))
        toInitiator = KeyDerivation.derive(
            SealingKey.keySize, from: agreed, salt: salt, info: info("to initiator"))
    }
}
