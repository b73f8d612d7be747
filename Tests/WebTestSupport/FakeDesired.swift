package import BrambleAPI

/// What should be, in a cluster that exists in memory only: it takes any document but those that say “wrong”.
extension FakeCluster {
    package func apply(_ request: ApplyRequest) async throws(APIError) -> ApplyAnswer {
        if request.document.contains("wrong") {
            throw APIError(
                problem: "\(request.name ?? "document"), line 3, column 5: unknown key `adresses`",
                remedy: "did you mean `addresses`?", kind: .invalid)
        }
        change { $0.services.applied.append(request) }
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
    package func export() async throws(APIError) -> DesiredDocument {
        if change({ $0.services.isNothingApplied }) { return DesiredDocument(document: "{}\n", unreadable: []) }
        return DesiredDocument(
            document: "services:\n  - name: web\n    addresses: [192.168.1.50/24]\n    run: systemd:nginx\n",
            unreadable: ["services/odd: “rocket:moon” is nothing that can be run; write systemd:UNIT"])
    }
}
