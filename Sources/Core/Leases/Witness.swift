package import Primitives

/// A process that only votes: it breaks the tie of two nodes, and holds nothing. About 100 bytes for each lease; its disk
/// is written once for each change of holder.
package struct Witness: Sendable {
    package enum Effect: Equatable, Sendable {
        case send(LeaseMessage, to: NodeID)
        /// Write down and report `persisted`: what depends on it is sent then.
        case persist(LeaseMemory, ticket: UInt32)
        case votersChanged(VoterConfig)
    }
    private var voter: LeaseVoter
    private var waiting: [(ticket: UInt32, message: LeaseMessage, to: NodeID)] = []
    private var writing: [(ticket: UInt32, memory: LeaseMemory)] = []
    private var ticket: UInt32 = 0
    private static let maximumWaiting = 1024
    /// Members that it would found a cluster with: it agrees to whatever they agree to.
    private let me: NodeID

    package init(me: NodeID, config: LeaseConfig, memory: LeaseMemory, now: Instant) {
        self.me = me
        voter = LeaseVoter(me: me, config: config, memory: memory, now: now)
    }
    package var voters: VoterConfig { voter.memory.voters }
    package var memory: LeaseMemory { voter.memory }

    package mutating func receive(_ message: LeaseMessage, from sender: NodeID, now: Instant) -> [Effect] {
        var effects: [Effect] = []
        switch message.body {
        case .votes(let votes):
            guard message.voters == voters.version else {
                guard voters.number > 0 else { return [] }
                return [.send(LeaseMessage(voters: voters.version, .change(.decided(voters))), to: sender)]
            }
            var ready: [LeaseVote] = []
            var stored: [LeaseVote] = []
            var mustWrite = false
            for vote in votes where voters.contains(me) {
                let answer = voter.handle(vote, from: sender, now: now)
                guard let reply = answer.vote else { continue }
                if answer.disk == .done { ready.append(reply) } else { stored.append(reply) }
                if answer.disk == .write { mustWrite = true }
            }
            for reply in LeaseCodec.split(ready, voters: voters.version) { effects.append(.send(reply, to: sender)) }
            if !stored.isEmpty {
                effects += store(LeaseCodec.split(stored, voters: voters.version), to: sender, isNew: mustWrite)
            }
        case .change(.decided(let config)):
            if voter.isSuperseded(by: config) {
                voter.adopt(config, now: now)
                effects += store([], to: sender)
                effects.append(.votersChanged(config))
            }
            let answer: VoterMessage = config.version == voters.version ? .adopted : .decided(voters)
            effects.append(.send(LeaseMessage(voters: voters.version, .change(answer)), to: sender))
        case .change(let change):
            var founding: [NodeID] = []
            if case .accept(_, let config) = change, config.witness == me { founding = config.nodes }
            let (answer, disk) = voter.handle(change, from: sender, founding: founding)
            guard let answer else { return [] }
            let reply = LeaseMessage(voters: voters.version, .change(answer))
            effects += disk == .done ? [.send(reply, to: sender)] : store([reply], to: sender, isNew: disk == .write)
        case .beat, .ack: break
        }
        return effects
    }

    package mutating func persisted(ticket: UInt32) -> [Effect] {
        if let newest = writing.last(where: { Int32(bitPattern: $0.ticket &- ticket) <= 0 }) {
            voter.hasStored(newest.memory)
        }
        writing.removeAll { Int32(bitPattern: $0.ticket &- ticket) <= 0 }
        let done = waiting.filter { Int32(bitPattern: $0.ticket &- ticket) <= 0 }
        waiting.removeAll { Int32(bitPattern: $0.ticket &- ticket) <= 0 }
        return done.map { .send($0.message, to: $0.to) }
    }

    private mutating func store(_ messages: [LeaseMessage], to node: NodeID, isNew: Bool = true) -> [Effect] {
        if isNew {
            ticket &+= 1
            writing.append((ticket, voter.memory))
            if writing.count > Self.maximumWaiting { writing.removeFirst() }
        }
        waiting += messages.map { (ticket, $0, node) }
        if waiting.count > Self.maximumWaiting { waiting.removeFirst(waiting.count - Self.maximumWaiting) }
        return isNew ? [.persist(voter.memory, ticket: ticket)] : []
    }
}
