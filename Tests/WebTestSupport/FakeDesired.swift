package import BrambleAPI
import FoundationEssentials

/// What should be, in a cluster that exists in memory only: it takes any document but those that say “wrong”.
extension FakeCluster {
    package func apply(_ request: ApplyRequest) async throws(APIError) -> ApplyAnswer {
        if request.document.contains("wrong") {
            throw APIError(
                problem: "\(request.name ?? "document"), line 3, column 5: unknown key `adresses`",
                remedy: "did you mean `addresses`?", kind: .invalid)
        }
        change { $0.services.applied.append(request) }
        if let answer = balancers(request) { return answer }
        let changes = [
            DesiredDifference(
                change: .added, part: "services", name: "web",
                details: ["addresses: [192.168.1.50/24]", "run: systemd:nginx"]),
            DesiredDifference(change: .changed, part: "services", name: "files", details: ["every: (default) → 10s"]),
            DesiredDifference(change: .changed, part: "reach", name: "reach", details: ["reach: [] → [192.168.1.1]"]),
        ]
        let removed = DesiredDifference(change: .removed, part: "mirrors", name: "old", details: [])
        return ApplyAnswer(
            changes: request.prune == true ? changes + [removed] : changes, applied: request.dryRun != true,
            notes: ["web prefers serv9, which is not a node of this cluster yet"])
    }
    /// Balancers as the dashboard adds and removes them.
    private func balancers(_ request: ApplyRequest) -> ApplyAnswer? {
        struct Document: Decodable {
            struct Balancer: Decodable {
                var name: String
                var listen: String
                var `protocol`: String
                var to: Int
                var sticky: String?
                var service: String?
                var nodes: [String]?
            }
            var balancers: [Balancer]
        }
        func answer(_ kind: DesiredDifference.Kind, _ name: String) -> ApplyAnswer {
            ApplyAnswer(
                changes: [DesiredDifference(change: kind, part: "balancers", name: name, details: [])],
                applied: request.dryRun != true, notes: [])
        }
        if let name = request.remove?.first, name.hasPrefix("balancers/") {
            change { $0.services.balancers.removeAll { "balancers/\($0.name)" == name } }
            return answer(.removed, name)
        }
        guard
            let wanted = try? JSONDecoder().decode(Document.self, from: Data(request.document.utf8)).balancers.first
        else { return nil }
        let isThere = change { state in state.services.balancers.contains { $0.name == wanted.name } }
        guard request.dryRun != true else { return answer(isThere ? .changed : .added, wanted.name) }
        change { state in
            let backends = (wanted.nodes ?? state.nodes.map(\.name)).map {
                BalancerInfo.Backend(node: $0, address: "192.168.1.9:\(wanted.to)", state: .unchecked)
            }
            state.services.balancers.append(
                BalancerInfo(
                    name: wanted.name, transport: .init(rawValue: wanted.protocol) ?? .http, listen: wanted.listen,
                    backends: backends, sticky: wanted.sticky == "source" ? .source : .none, service: wanted.service))
        }
        return answer(.added, wanted.name)
    }
    package func export() async throws(APIError) -> DesiredDocument {
        if change({ $0.services.isNothingApplied }) { return DesiredDocument(document: "{}\n", unreadable: []) }
        return DesiredDocument(
            document: "services:\n  - name: web\n    addresses: [192.168.1.50/24]\n    run: systemd:nginx\n",
            unreadable: ["services/odd: “rocket:moon” is nothing that can be run; write systemd:UNIT"])
    }
}
