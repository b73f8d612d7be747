import BrambleAPI
import Leases
import Membership
import Node
import Primitives
import Services

/// Tells what the cores decided in an operator's words: events for the journal, and the answer of `bramble why`.
struct Storyteller: Sendable {
    let names: NameTable
    let selfID: NodeID

    func name(_ id: NodeID) -> String {
        (names.name(of: id) ?? names.formerNames[id])?.description ?? "node \(id.code)"
    }

    // MARK: Events

    /// Nil for what is of no use to people.
    func tell(_ notice: ClusterNotice) -> EventDraft? {
        switch notice {
        case .membership(let notice): return tell(notice)
        case .factChanged(let key, let origin, let isNews): return isNews ? tell(factChanged: key, by: origin) : nil
        case .waitingForApproval(let applicant):
            let wanted = applicant.record.profile.name.description
            return EventDraft(
                type: "waiting", subject: wanted,
                detail: ["code": .string(applicant.record.id.code), "address": .string("\(applicant.path)")],
                sentence: "\(wanted) at \(applicant.path) has our cluster key and waits for approval, code "
                    + "\(applicant.record.id.code): bramble node add \(wanted)")
        case .service(let notice): return tell(notice)
        case .lease(let notice): return tell(notice)
        case .nameConflict(let conflict):
            return EventDraft(
                type: "conflict", subject: conflict.given.description,
                detail: [
                    "wanted": .string(conflict.wanted.description), "keeper": .string(conflict.keeper.description),
                ],
                sentence: "two nodes are called \(conflict.wanted): the younger one goes by \(conflict.given). "
                    + "To end this, give it a name of its own: bramble start --name NAME")
        }
    }

    private func tell(_ notice: Notice) -> EventDraft? {
        switch notice {
        case .joined(let id): return draft("joined", id, "\(name(id)) joined")
        case .suspect(let id, let accusation):
            return draft(
                "suspect", id,
                "\(name(id)) is suspect: \(name(accusation.observer)) \(heard(accusation))",
                by: [accusation.observer], detail: figures(accusation))
        case .alive(let id, let rank):
            return draft(
                "alive", id, "\(name(id)) is alive again",
                detail: ["after": .string(rank == .failed ? "down" : "\(rank)")])
        case .failed(let id, let verdict):
            return draft(
                "down", id, "\(name(id)) is down: \(because(verdict))", by: verdict.accusers.map(\.observer),
                detail: figures(verdict))
        case .left(let id): return draft("left", id, "\(name(id)) left: it was stopped on purpose")
        case .removed(let id): return draft("removed", id, "\(name(id)) was removed from the cluster")
        case .restarted(let id): return draft("restarted", id, "\(name(id)) restarted")
        case .profileChanged(let id): return draft("changed", id, "\(name(id)) changed its addresses or its version")
        case .isolated(let silent, let total):
            return draft(
                "isolated", selfID,
                "\(name(selfID)) is isolated: \(silent) of its \(total) peers fell silent at once, so it accuses nobody",
                detail: ["silent": .integer(Int64(silent)), "peers": .integer(Int64(total))])
        case .rejoined: return draft("recovered", selfID, "\(name(selfID)) hears the others again")
        case .stalled(let pause):
            let rounded = (pause.milliseconds).rounded()
            return draft(
                "stalled", selfID, "\(name(selfID)) did not run for \(Int(rounded)) ms; it holds that against nobody",
                detail: ["pauseMs": .number(rounded)])
        case .pathLost(let id, let path):
            return draft(
                "path-lost", id, "the path to \(name(id)) over \(path) is lost; another one works",
                detail: ["path": .string("\(path)")])
        case .pathBack(let id, let path):
            return draft(
                "path-back", id, "the path to \(name(id)) over \(path) is back", detail: ["path": .string("\(path)")])
        }
    }

    private func tell(factChanged key: String, by origin: NodeID?) -> EventDraft? {
        let writer = origin.map { [name($0)] } ?? []
        let parts = key.split(separator: "/", maxSplits: 1).map { String($0) }
        guard parts.count == 2 else { return nil }
        switch parts[0] {
        case "approved":
            let who = NodeID(parts[1]).map(name) ?? parts[1]
            return EventDraft(type: "approved", subject: who, by: writer, sentence: "\(who) was approved")
        case "key":
            return EventDraft(
                type: "key-changed", subject: writer.first ?? "", by: writer,
                sentence: "the cluster key was changed (version \(Int(parts[1]) ?? 0))")
        case "user":
            return EventDraft(
                type: "password-changed", subject: parts[1], by: writer,
                sentence: "the password of \(parts[1]) was changed")
        case "token":
            return EventDraft(
                type: "token-changed", subject: parts[1], by: writer,
                sentence: "the API token \(parts[1]) was created or revoked")
        default: return nil  // `removed` is told by membership
        }
    }

    // MARK: Services

    private func tell(_ notice: ServiceNotice) -> EventDraft? {
        let type =
            switch notice.kind {
            case .restored: "address-restored"
            case .path: "service-path"
            default: notice.kind.rawValue
            }
        var detail: [String: JSONValue] = notice.figures.mapValues { .number(rounded($0)) }
        if let epoch = notice.epoch { detail["epoch"] = .integer(Int64(clamping: epoch.number)) }
        detail["node"] = .string(name(selfID))
        guard let service = notice.service else {
            return EventDraft(type: type, subject: name(selfID), detail: detail, sentence: placed(notice.text))
        }
        detail["service"] = .bool(true)
        // Sentences of the core go on from the service's name, or say what becomes of this node, the lease or a part of it.
        let text = placed(notice.text)
        let goesOn = ["runs", "stops", "restarts", "could", "has"].contains { text.hasPrefix("\($0) ") }
        let sentence =
            if notice.kind == .acquired {
                text
            } else if text.hasPrefix("nothing of it ") {
                text.replacing("nothing of it", with: "nothing of \(service)", maxReplacements: 1)
            } else {
                goesOn ? "\(service) \(text)" : "\(service): \(text)"
            }
        return EventDraft(type: type, subject: service.description, detail: detail, sentence: sentence)
    }

    /// Whoever reads it may ask another node: “here” needs a name.
    func placed(_ text: String) -> String {
        let own = name(selfID)
        return text.replacing("this node", with: own).replacing("stops here", with: "stops on \(own)")
            .replacing("reach it here", with: "reach it on \(own)").replacing("started here", with: "started on \(own)")
    }

    private func tell(_ notice: LeaseNotice) -> EventDraft? {
        switch notice {
        // Services tell of theirs themselves, with what they do about it.
        case .acquired, .released, .lost: return nil
        case .doubleOwnership(let lease, let other, let own, let theirs, let overlap):
            return EventDraft(
                type: "conflict", subject: lease.description,
                detail: [
                    "epoch": .integer(Int64(clamping: own.number)),
                    "otherEpoch": .integer(Int64(clamping: theirs.number)),
                    "overlapMs": .number(overlap.milliseconds.rounded()),
                ],
                sentence:
                    "\(lease) was held by \(name(selfID)) (epoch \(own)) and \(name(other)) (epoch \(theirs)) for up "
                    + "to \(milliseconds(overlap)) ms; the lower epoch lets go")
        case .votersChanged(let voters):
            var kinds = voters.isPair ? "two nodes" : "\(voters.nodes.count) voters, \(voters.quorum) decide"
            if let witness = voters.witness { kinds += ", \(name(witness)) is the witness" }
            return EventDraft(
                type: "voters", subject: name(selfID),
                detail: [
                    "number": .integer(Int64(clamping: voters.number)), "voters": .integer(Int64(voters.nodes.count)),
                ],
                sentence: "who may run services is decided by \(list(voters.nodes.map(name))) (\(kinds))")
        case .timing(let takeover, let because):
            return EventDraft(
                type: "timing", subject: name(selfID), detail: ["takeoverMs": .number(takeover.milliseconds.rounded())],
                sentence: "takeovers wait \(milliseconds(takeover)) ms from now on: \(because)")
        case .refusedNumbers(let text):
            return EventDraft(type: "timing", subject: name(selfID), sentence: text)
        }
    }

    private func draft(
        _ type: String, _ subject: NodeID, _ sentence: String, by observers: [NodeID] = [],
        detail: [String: JSONValue] = [:]
    ) -> EventDraft {
        EventDraft(type: type, subject: name(subject), by: observers.map(name), detail: detail, sentence: sentence)
    }

    // MARK: Why

    /// One sentence with figures, and what it rests on.
    func explain(_ member: MemberView, threshold: Double, edges: [EdgeView], history: [Event]) -> Explanation {
        let subject = name(member.id)
        let since = Timestamp.of(member.since)
        let watchers = edges.filter { $0.subject == member.id && $0.watcher != member.id }
        let contact = watchers.filter { $0.state == .up || $0.state == .probing }.count
        var answer: String
        switch member.rank {
        case _ where member.id == selfID: answer = "\(subject) is alive: it is the node that answers you"
        case .alive:
            answer = "\(subject) is alive since \(since)"
            if let phi = member.phi {
                answer += ": its suspicion here is φ \(number(phi)), and \(number(threshold)) would make a report"
            } else if contact > 0 {
                answer += ": \(contact) of the nodes that watch it hear it; this one does not watch it itself"
            }
        case .suspect:
            answer =
                "\(subject) is suspect since \(since): "
                + "\(member.phi.map { "it has been silent here up to φ \(number($0)) of \(number(threshold)), and " } ?? "")"
                + "too few observers agree to call it down"
        case .failed:
            answer =
                "\(subject) is down since \(since): "
                + (member.verdict.map(because) ?? "this node learned it from another one, or from its saved member list")
        case .left: answer = "\(subject) left at \(since): it was stopped on purpose"
        case .removed: answer = "\(subject) was removed from the cluster by an operator at \(since)"
        }
        var because: [Explanation.Reason] = []
        if let verdict = member.verdict {
            because += verdict.accusers.map { accusation in
                Explanation.Reason(
                    at: since, text: "\(name(accusation.observer)) \(heard(accusation))", figures: figures(accusation))
            }
        }
        because += history.suffix(10).reversed().map { event in
            Explanation.Reason(
                at: event.at, text: event.by.isEmpty ? event.type : "\(event.type), said by \(list(event.by))",
                figures: event.detail)
        }
        return Explanation(subject: subject, answer: answer, because: because)
    }

    private func because(_ verdict: Verdict) -> String {
        let loudest = verdict.accusers.map(\.phi).max() ?? 0
        let silence = verdict.accusers.map(\.silence).max() ?? .zero
        var text =
            "\(verdict.accusers.count) of \(verdict.observers) observers heard nothing for up to "
            + "\(milliseconds(silence)) ms (φ \(number(loudest))), \(verdict.needed) had to agree, "
            + "\(verdict.defenders == 0 ? "none" : "\(verdict.defenders)") still had contact"
        if !verdict.isConfirmed { text += "; unconfirmed: there was nobody else to ask, and no reach list" }
        return text
    }

    private func heard(_ accusation: Accusation) -> String {
        let probes = accusation.unansweredProbes
        return "heard nothing for \(milliseconds(accusation.silence)) ms (φ \(number(accusation.phi)))"
            + (probes > 0 ? ", and \(probes) probe\(probes == 1 ? "" : "s") went unanswered" : "")
    }

    private func figures(_ accusation: Accusation) -> [String: JSONValue] {
        [
            "phi": .number(rounded(accusation.phi)), "silenceMs": .number(accusation.silence.milliseconds.rounded()),
            "unansweredProbes": .integer(Int64(accusation.unansweredProbes)),
        ]
    }

    private func figures(_ verdict: Verdict) -> [String: JSONValue] {
        [
            "phi": .number(rounded(verdict.accusers.map(\.phi).max() ?? 0)),
            "silenceMs": .number((verdict.accusers.map(\.silence).max() ?? .zero).milliseconds.rounded()),
            "accusers": .integer(Int64(verdict.accusers.count)), "observers": .integer(Int64(verdict.observers)),
            "needed": .integer(Int64(verdict.needed)), "defenders": .integer(Int64(verdict.defenders)),
            "confirmed": .bool(verdict.isConfirmed),
        ]
    }

    private func milliseconds(_ duration: Duration) -> Int { Int(duration.milliseconds.rounded()) }
    private func rounded(_ value: Double) -> Double { (value * 10).rounded() / 10 }
    private func number(_ value: Double) -> String { "\(rounded(value))" }
    private func list(_ names: [String]) -> String {
        names.count < 2 ? names.joined() : names.dropLast().joined(separator: ", ") + " and " + names.last!
    }
}
