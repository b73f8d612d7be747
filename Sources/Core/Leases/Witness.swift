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
            for vote in votes where voters.contains(me) {
                let answer = voter.handle(vote, from: sender, now: now)
                guard let reply = answer.vote else { continue }
                if answer.needsDisk { stored.append(reply) } else { ready.append(reply) }
            }
            for reply in LeaseCodec.split(ready, voters: voters.version) { effects.append(.send(reply, to: sender)) }
            if !stored.isEmpty {
                effects += store(LeaseCodec.split(stored, voters: voters.version), to: sender)
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
            let (answer, needsDisk) = voter.handle(change, from: sender, founding: founding)
            guard let answer else { return [] }
            let reply = LeaseMessage(voters: voters.version, .change(answer))
            effects += needsDisk ? store([reply], to: sender) : [.send(reply, to: sender)]
        case .beat, .ack: break
        }
        return effects
    }

    package mutating func persisted(ticket: UInt32) -> [Effect] {
        let done = waiting.filter { Int32(bitPattern: $0.ticket &- ticket) <= 0 }
        waiting.removeAll { Int32(bitPattern: $0.ticket &- ticket) <= 0 }
        return done.map { .send($0.message, to: $0.to) }
    }

    private mutating func store(_ messages: [LeaseMessage], to node: NodeID) -> [Effect] {
        ticket &+= 1
        waiting += messages.map { (ticket, $0, node) }
        if waiting.count > Self.maximumWaiting { waiting.removeFirst(waiting.count - Self.maximumWaiting) }
        return [.persist(voter.memory, ticket: ticket)]
    }
}
