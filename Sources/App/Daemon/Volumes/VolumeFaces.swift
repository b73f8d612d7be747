import BrambleAPI
import Engines
import Primitives
import Reactor
import Services
import Volumes

import enum Node.FactKey
import struct Storage.FactEdit

/// What people ask of volumes.
extension Member {
    // MARK: Making

    /// The volume that a request means, with the nodes that will have a brick.
    func wanted(_ request: VolumeRequest) async throws(APIError) -> Volume {
        func invalid(_ problem: String, _ remedy: String) -> APIError {
            APIError(problem: problem, remedy: remedy, kind: .invalid)
        }
        guard let name = ServiceName(request.name) else {
            throw invalid("“\(request.name.prefix(80))” is no name for a volume", "use \(ServiceName.rule)")
        }
        let layout: Volume.Layout
        if let bricks = request.disperse {
            guard request.replica == nil, request.arbiter == nil else {
                throw invalid(
                    "a dispersed volume has no copies and no arbiter",
                    "give either the copies or the bricks to disperse over")
            }
            let redundancy = request.redundancy ?? 1
            guard (3...20).contains(bricks), (1...8).contains(redundancy) else {
                throw invalid("a volume disperses over 3 to 20 bricks, of which 1 to 8 may be lost", "use such numbers")
            }
            layout = .disperse(redundancy: redundancy, bricks: bricks)
        } else {
            guard request.redundancy == nil else {
                throw invalid("only a dispersed volume has a redundancy", "say over how many bricks to disperse, too")
            }
            let (copies, arbiters) = (request.replica ?? 3, request.arbiter ?? 0)
            guard (2...20).contains(copies), (0...1).contains(arbiters) else {
                throw invalid("a volume keeps 2 to 20 copies, and has one arbiter or none", "use such numbers")
            }
            layout = .replicate(copies: copies, arbiter: arbiters == 1)
        }
        var volume = Volume(name: name, layout: layout, path: request.path ?? "/data/bricks/\(name)")
        for path in [request.path, request.mount].compactMap({ $0 }) {
            do throws(Refusal) { try PathRule.check(path, "the path") } catch {
                throw invalid(error.problem, error.remedy)
            }
        }
        volume.mount = request.mount
        volume.force = request.force ?? false
        guard let (alive, desired) = await volumes.overview() else {
            throw APIError(problem: "this node is still starting", remedy: "ask again in a moment", kind: .unavailable)
        }
        guard !desired.contains(where: { $0.name == name }) else {
            throw APIError(
                problem: "there is a volume “\(name)” already", remedy: "see it: bramble volume status \(name)")
        }
        guard await !volumes.infos().contains(where: { $0.name == "\(name)" }) else {
            throw APIError(
                problem: "the former volume “\(name)” is still being deleted",
                remedy: "see how far: bramble volume status \(name)")
        }
        for text in request.nodes ?? [] {
            guard let node = NodeName(text) else {
                throw invalid("“\(text.prefix(80))” is no node's name", "bramble nodes")
            }
            volume.nodes.append(node)
        }
        if volume.nodes.isEmpty { volume.nodes = volume.chosenNodes(from: alive) }
        guard volume.nodes.count >= volume.leastBricks else {
            throw APIError(
                problem: "\(volume.leastBricks) nodes are needed for \(volume.layoutText), and "
                    + (request.nodes == nil ? "\(alive.count) are alive" : "\(volume.nodes.count) are named"),
                remedy: "add nodes, or ask for less")
        }
        return volume
    }

    func document(of volume: Volume, dryRun: Bool) -> ApplyRequest {
        ApplyRequest(
            document: DocumentText.part("volumes", [DocumentText.lines(volume)]), name: "the volume", dryRun: dryRun)
    }

    /// Asks the nodes that would have a brick. What others lack is no reason to refuse: the volume shows it.
    func examine(_ volume: Volume) async throws(APIError) {
        let found = await volumes.obstacles(volume)
        guard let first = found.first else { return }
        // “node: problem; remedy”, the remedy after the last semicolon.
        let mark = first.lastIndex(of: ";")
        let problem = mark.map { String(first[..<$0]) } ?? first
        let remedy = mark.map { String(first[$0...].dropFirst(2)) } ?? "see to that node, or name others with --on"
        let more = found.count > 1 ? " (and \(found.count - 1) more like this)" : ""
        throw APIError(problem: problem + more, remedy: remedy)
    }

    /// Below the API's own patience for a change.
    private static let patience = Duration.seconds(50)

    /// Waits until it is mounted wherever it can be.
    func mounted(_ volume: Volume) async throws(APIError) -> VolumeInfo {
        let began = SystemClock.now
        var last: VolumeInfo?
        while SystemClock.now - began < Self.patience {
            last = await volumes.infos().first { $0.name == volume.name.description }
            if let last, last.state == .online {
                // Where a node cannot mount, that is said; the others have it.
                let isComplete = last.notMounted.allSatisfy { !$0.reason.isEmpty }
                if isComplete, !last.mountedOn.isEmpty { return last }
            }
            if let last, last.state == .blocked, SystemClock.now - began > .seconds(3) { break }
            guard await pause(.milliseconds(20)) else { break }
        }
        let reason = last.map { $0.reason.isEmpty ? $0.state.rawValue : $0.reason } ?? "no node looks after it"
        throw APIError(
            problem: "the volume \(volume.name) is not there yet: \(reason)",
            remedy:
                "it goes on by itself: bramble volume status \(volume.name); or take it back: bramble volume delete "
                + "\(volume.name)", kind: .unavailable)
    }

    // MARK: Deleting

    func knownVolume(_ name: String) async throws(APIError) {
        let all = await volumes.infos().map(\.name)
        guard !all.contains(name) else { return }
        throw APIError(
            problem: "no volume is called “\(name.prefix(80))”",
            remedy: all.isEmpty
                ? "make one: bramble volume create NAME" : "the volumes are: \(all.joined(separator: ", "))",
            kind: .notFound)
    }

    /// A volume whose row goes is to be deleted; one whose row comes back is not any more.
    func deletions(_ answer: ApplyAnswer, kept: DesiredState) async -> [FactEdit] {
        let facts = await pulse.facts
        return answer.changes.filter { $0.part == "volumes" }.compactMap { change in
            guard let name = ServiceName(change.name) else { return nil }
            let key = FactKey.deletedVolume(name)
            if change.change == .removed {
                let mount = kept.volumes.first { $0.name == name }?.mountPoint ?? "/bramble/\(name)"
                return FactEdit(key, Array(mount.utf8))
            }
            return facts[key] == nil ? nil : FactEdit(key, nil)
        }
    }

    func deleted(_ name: String) async throws(APIError) -> NodeChange {
        let began = SystemClock.now
        var last: VolumeInfo?
        while SystemClock.now - began < Self.patience {
            last = await volumes.infos().first { $0.name == name }
            guard let found = last, found.state == .deleting || SystemClock.now - began < .seconds(3) else {
                if last == nil {
                    return NodeChange(
                        name: name,
                        done: "the volume \(name) is deleted; its files stay in the directories of its bricks")
                }
                break
            }
            // Programs that use it may go on for ever.
            if !found.reason.isEmpty, found.reason.contains("still use"), SystemClock.now - began > .seconds(3) {
                break
            }
            guard await pause(.milliseconds(50)) else { break }
        }
        throw APIError(
            problem: "the volume \(name) is not deleted yet"
                + (last.map { $0.reason.isEmpty ? "" : ": \($0.reason)" } ?? ""),
            remedy: "it goes on by itself: bramble volume status \(name)", kind: .unavailable)
    }

    // MARK: Bricks

    func changedBricks(_ name: String, _ request: VolumeBricksRequest) async throws(APIError) -> (Volume, String) {
        try await knownVolume(name)
        guard let (_, desired) = await volumes.overview(),
            var volume = desired.first(where: { $0.name.description == name }),
            let info = await volumes.infos().first(where: { $0.name == name })
        else {
            throw APIError(problem: "the volume \(name) is being deleted", remedy: "bramble volume status \(name)")
        }
        let have = info.bricks.compactMap { NodeName($0.node) }
        func names(_ texts: [String]?) throws(APIError) -> [NodeName] {
            var names: [NodeName] = []
            for text in texts ?? [] {
                guard let node = NodeName(text) else {
                    throw APIError(
                        problem: "“\(text.prefix(80))” is no node's name", remedy: "bramble nodes", kind: .invalid)
                }
                names.append(node)
            }
            return names
        }
        let (add, remove) = (try names(request.add), try names(request.remove))
        guard !add.isEmpty || !remove.isEmpty else {
            throw APIError(problem: "no node is named", remedy: "name the nodes", kind: .invalid)
        }
        if let twice = add.first(where: { have.contains($0) }) {
            throw APIError(problem: "\(twice) has a brick of \(name) already", remedy: "name another node")
        }
        if let missing = remove.first(where: { !have.contains($0) }) {
            throw APIError(
                problem: "\(missing) has no brick of \(name)",
                remedy: "those that have one: \(have.map(\.description).joined(separator: ", "))")
        }
        guard remove.isEmpty || add.isEmpty || remove.count == add.count else {
            throw APIError(
                problem: "\(remove.count) bricks cannot be replaced by \(add.count)",
                remedy: "name one new node for each")
        }
        var nodes = have
        for (old, new) in zip(remove, add) { nodes[nodes.firstIndex(of: old)!] = new }
        if remove.isEmpty { nodes += add }
        if add.isEmpty { nodes.removeAll { remove.contains($0) } }
        let size = max(info.replica, info.disperse)
        if !nodes.count.isMultiple(of: size) {
            // With one set of copies there can be more or fewer of them.
            guard case .replicate(_, arbiter: false) = volume.layout, have.count == size, nodes.count >= 2 else {
                throw APIError(
                    problem: "the bricks of \(name) come in sets of \(size), and \(nodes.count) would be left",
                    remedy: "add or take away whole sets, which follow each other: "
                        + have.map(\.description).joined(separator: ", ")
                        + "; or replace one: bramble volume replace-brick")
            }
            volume.layout = .replicate(copies: nodes.count)
        }
        volume.nodes = nodes
        if !add.isEmpty { try await examine(Self.withBricks(volume, on: add)) }
        let list = { (names: [NodeName]) in names.map(\.description).joined(separator: ", ") }
        let done =
            remove.isEmpty
            ? "\(list(add)) \(add.count == 1 ? "gets a brick" : "get bricks") of \(name)"
            : add.isEmpty
                ? "the \(remove.count == 1 ? "brick" : "bricks") of \(name) on \(list(remove)) will go"
                : "\(list(add)) \(add.count == 1 ? "takes" : "take") the place of \(list(remove)) in \(name)"
        return (volume, done + "; see how far: bramble volume status \(name)")
    }
    /// For asking those alone that come anew.
    private static func withBricks(_ volume: Volume, on nodes: [NodeName]) -> Volume {
        var volume = volume
        volume.nodes = nodes
        return volume
    }

    func heal(_ name: String) async throws(APIError) -> NodeChange {
        try await knownVolume(name)
        let left = await volumes.infos().first { $0.name == name }?.toHeal ?? 0
        guard left > 0, let service = ServiceName(name) else {
            return NodeChange(name: name, done: "nothing of \(name) has to be healed")
        }
        // Right after bricks came back GlusterFS refuses for a moment.
        var failure: EngineFailure?
        for _ in 0..<10 {
            do throws(EngineFailure) {
                try await volumes.heal(service)
                return NodeChange(name: name, done: "\(left) entries of \(name) are healed now")
            } catch { failure = error }
            guard await pause(.milliseconds(500)) else { break }
        }
        throw APIError(problem: failure?.problem ?? "", remedy: failure?.remedy ?? "", kind: .unavailable)
    }

    // MARK: Nodes

    /// A node with bricks does not leave before others have its files.
    func refusalToRemove(_ node: NodeName) async -> APIError? {
        let held = await volumes.volumes(on: node)
        guard let first = held.first else { return nil }
        let list = held.map(\.description).joined(separator: ", ")
        return APIError(
            problem: "\(node) has a brick of the volume\(held.count == 1 ? "" : "s") \(list)",
            remedy:
                "first let another node take its place: bramble volume replace-brick \(first) \(node) OTHER; or go without: "
                + "bramble volume remove-brick \(first) \(node)")
    }
}

extension VolumeInfo {
    func explanation(history: [Event]) -> Explanation {
        let place =
            mountedOn.isEmpty ? "mounted nowhere" : "mounted at \(mount) on \(mountedOn.joined(separator: ", "))"
        let figures: [String: JSONValue] = [
            "bricks": .integer(Int64(bricks.count)), "online": .integer(Int64(bricks.count(where: \.online))),
            "toHeal": .integer(toHeal),
        ]
        var because = [
            Explanation.Reason(
                at: Timestamp.now(),
                text: "\(bricks.count(where: \.online)) of \(bricks.count) bricks are online: "
                    + bricks.map { "\($0.node)\($0.online ? "" : " (offline)")" }.joined(separator: ", "),
                figures: figures)
        ]
        if !progress.isEmpty { because.append(.init(at: Timestamp.now(), text: progress, figures: [:])) }
        for missing in notMounted where !missing.reason.isEmpty {
            because.append(
                .init(at: Timestamp.now(), text: "not mounted on \(missing.node): \(missing.reason)", figures: [:]))
        }
        because += history.suffix(10).reversed().map { event in
            Explanation.Reason(at: event.at, text: event.text.isEmpty ? event.type : event.text, figures: event.detail)
        }
        return Explanation(
            subject: name, answer: "\(name) is \(state.rawValue), \(place)\(reason.isEmpty ? "" : ": \(reason)")",
            because: because)
    }
}
