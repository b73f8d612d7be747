import Importers
import Inventory
import Services
import YAML

extension FuzzTarget {
    private static let document = """
        reach: [10.0.0.1]
        services:
          - {name: web, addresses: [10.0.0.50/24], run: 'exec:[/bin/x, "a, b"]', check: 'http://:80/x', every: 5s, mirrors: [m]}
        mirrors: [{name: m, paths: [/srv/], every: on-change}]
        volumes: [{name: v, type: disperse, redundancy: 2, path: /b}]
        balancers: [{name: b, listen: ':80', to: 8080, sticky: source}]
        """
    private static var state: DesiredState {
        let read = try? YAML.decode(ApplyDocument.self, from: document)
        return read?.applied(to: DesiredState(), prune: true) ?? DesiredState()
    }

    /// Facts about services from a peer that may run another version.
    static let desiredRows = FuzzTarget("desiredRows") {
        state.rows.map { Array("\($0.factKey)\n\($0.factValue)".utf8) }
    } check: { bytes in
        let parts = String(decoding: bytes, as: UTF8.self).split(separator: "\n", maxSplits: 1)
        guard parts.count == 2, let row = DesiredRow(factKey: String(parts[0]), value: String(parts[1])) else {
            return nil
        }
        let state = DesiredState(rows: [row]) { _, _ in }
        let again = DesiredState(rows: state.rows.compactMap { DesiredRow(factKey: $0.factKey, value: $0.factValue) }) {
            _, _ in
        }
        _ = StandingOrders(rows: [row])
        return again == state ? nil : "what was read is not written so that it is read again"
    }

    /// Files for apply.
    static let applyDocuments = FuzzTarget("applyDocuments", quickRuns: 1_500) {
        [Array(document.utf8), Array(DocumentText.write(state).utf8)]
    } check: { bytes in
        guard let read = try? YAML.decode(ApplyDocument.self, from: bytes) else { return nil }
        let state = read.applied(to: DesiredState(), prune: true)
        for problem in state.problems() { _ = problem.place(in: read) }
        let text = DocumentText.write(state)
        guard let again = try? YAML.decode(ApplyDocument.self, from: text) else {
            return "export printed what apply refuses"
        }
        return again.applied(to: DesiredState(), prune: true) == state ? nil : "export printed something else"
    }

    /// A playbook that somebody launches, which may import itself.
    static let playbook = FuzzTarget("playbook", quickRuns: 1_500) {
        [
            "- hosts: web:!old:&db\n- hosts: [a, serv1]\n  tasks: []\n- import_playbook: roles/other.yml\n",
            "- import_playbook: \"{{ later }}\"\n- hosts: all\n",
        ].map { Array($0.utf8) }
    } check: { bytes in
        let read = try? Playbook.read("site.yml", isNode: { $0 == "serv1" }) { _ in bytes }
        guard let groups = read?.groups else { return nil }
        if groups.contains("serv1") { return "a node is taken for a group" }
        return Set(groups).count == groups.count && !groups.isEmpty ? nil : "no groups, or one twice: \(groups)"
    }

    /// Configurations of older programs.
    static let oldSetups = FuzzTarget("oldSetups", quickRuns: 1_500) {
        [
            Array("vrrp_instance A {\n interface eth0\n use_vmac\n virtual_ipaddress {\n 10.0.0.1/24\n }\n}\n".utf8),
            Array("serv1 IPaddr::10.0.0.1/24/eth0 httpd Filesystem::/dev/sda::/x\n".utf8),
            Array("MAIN_IPADDR=10.0.0.1\nREDUNDANT_INTERFACE=eth2\nMAIN_MACADDR=00:10:4B:63:1C:08\n".utf8),
            // No interface is called so; once it was taken over, into a document that apply refuses.
            Array("MAIN_IPADDR=10.0.0.1\nREDUNDANT_INTERFACE=eth³\nMAIN_MACADDR=00:10:4B:63:1C:08\n".utf8),
        ]
    } check: { bytes in
        let text = String(decoding: bytes, as: UTF8.self)
        let folders: [(OldSetup, [OldFile])] = [
            (.keepalived, [OldFile(path: "keepalived.conf", text: text)]),
            (.haresources, [OldFile(path: "haresources", text: text), OldFile(path: "ha.cf", text: text)]),
            (
                .clusterd,
                [
                    OldFile(path: "serv1.conf", text: text), OldFile(path: "serv1/Fa", text: text),
                    OldFile(path: "reachlist", text: text), OldFile(path: "serv1/S10a", text: ""),
                ]
            ),
        ]
        for (setup, files) in folders {
            guard let imported = try? Imported.read(setup, files, at: "/etc/old") else { continue }
            guard let read = try? YAML.decode(ApplyDocument.self, from: imported.text),
                read.applied(to: DesiredState(), prune: true) == imported.state.canonical
            else { return "\(setup.rawValue): the document is not one that apply takes" }
        }
        return nil
    }
}
