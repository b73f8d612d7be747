import BrambleAPI
import Primitives
import Services
import Storage
import Testing

@testable import Daemon

@Suite("apply and export")
struct DesiredDocumentsTests {
    private let serv1 = NodeName("serv1")!
    private func plan(
        _ text: String, on kept: DesiredDocuments.Kept = .init(state: DesiredState()), prune: Bool = false
    ) throws(APIError) -> (ApplyAnswer, [DesiredDocuments.Edit]) {
        let request = ApplyRequest(document: text, name: "f.yaml", prune: prune)
        let plan = try DesiredDocuments.plan(request, kept: kept, nodes: [serv1])
        return (plan.answer, plan.edits)
    }
    private func keep(_ edits: [DesiredDocuments.Edit]) -> DesiredDocuments.Kept {
        DesiredDocuments.read(edits.compactMap { edit in edit.value.map { (edit.key, $0) } })
    }

    @Test("what is applied is kept, exported, and applied again without a change")
    func roundTrip() throws {
        let text = "services:\n  - name: web\n    addresses: [10.0.0.50/24]\n    run: systemd:nginx\n"
        let (answer, edits) = try plan(text)
        #expect(answer.applied && answer.changes.map(\.name) == ["web"])
        #expect(edits.map(\.key) == ["desired/services/web"])
        let kept = keep(edits)
        #expect(kept.unreadable == [])
        #expect(DocumentText.write(kept.state) == text)
        let (again, none) = try plan(text, on: kept)
        #expect(again.changes == [] && none == [])
    }

    @Test("only what differs is written, and only prune deletes")
    func edits() throws {
        let kept = keep(try plan("services: [{name: a, run: systemd:a}, {name: b, run: systemd:b}]").1)
        let document = "services: [{name: b, run: systemd:c}]"
        #expect(try plan(document, on: kept).1.map(\.key) == ["desired/services/b"])
        let pruned = try plan(document, on: kept, prune: true).1
        #expect(pruned.map(\.key) == ["desired/services/b", "desired/services/a"])
        #expect(pruned.map { $0.value == nil } == [false, true])
    }

    @Test("what the command line writes for service add and mirror add is taken, quotes and all")
    func flow() throws {
        let text = #"""
            services:
              - {name: "web", addresses: ["192.168.1.50/24", "fd00::50/64"], run: "exec:[/usr/bin/x, \"a\\\\b\"]", check: "tcp:445", every: "10s", prefer: ["serv1"]}
            mirrors:
              - {name: "samba", paths: ["/srv/a b/", "/etc/x\u007f"], every: "on-change", to: ["serv1"]}
            """#
        let kept = keep(try plan(text).1)
        #expect(kept.unreadable == [])
        #expect(kept.state.services.first?.addresses.count == 2)
        #expect(kept.state.services.first?.run == .exec(["/usr/bin/x", "a\\b"]))
        #expect(kept.state.mirrors.first?.paths == ["/srv/a b/", "/etc/x\u{7F}"])
    }

    @Test(
        "one object is removed by its name; what others need, and what is not there, is refused and nothing is written")
    func remove() throws {
        let text =
            "services: [{name: a, run: systemd:a, mirrors: [m]}, {name: b, run: systemd:b}]\nmirrors: [{name: m, paths: [/x/]}]"
        let kept = keep(try plan(text).1)
        func remove(_ object: String) throws(APIError) -> [DesiredDocuments.Edit] {
            let request = ApplyRequest(document: "{}\n", remove: [object])
            return try DesiredDocuments.plan(request, kept: kept, nodes: [serv1]).edits
        }
        #expect(try remove("services/b") == [.init(key: "desired/services/b", value: nil)])
        for (object, word) in [
            ("mirrors/m", "a in services would not fit any more: there is no mirror “m”"),
            ("services/c", "there is no “c”"), ("services", "nothing that can be removed"),
            ("reach/x", "nothing that can be removed"), ("services/", "there is no “”"),
            ("", "nothing that can be removed"),
        ] {
            let error = #expect(throws: APIError.self) { try remove(object) }
            #expect(error?.problem.contains(word) == true, "\(object): \(error?.problem ?? "")")
            #expect(error?.remedy.isEmpty == false)
        }
    }

    @Test("what does not fit with what is there already is refused with its line, and so is a name given twice")
    func refused() throws {
        let kept = keep(try plan("services: [{name: a, addresses: [10.0.0.1/24]}]").1)
        var found: APIError?
        do throws(APIError) {
            _ = try plan("services:\n  - name: b\n    addresses: [10.0.0.1/24]\n", on: kept)
        } catch { found = error }
        #expect(found?.problem == "f.yaml, line 3, column 16: 10.0.0.1 is in a and in b")
        #expect(found?.remedy == "an address belongs to one service")
        do throws(APIError) {
            _ = try plan("services:\n- {name: a, run: systemd:a}\n- {name: a, run: systemd:b}\n")
            Issue.record("taken")
        } catch {
            #expect(error.problem.hasPrefix("f.yaml, line 3, column 10: there are two “a” in services"))
        }
        do throws(APIError) {
            _ = try plan("services: [{name: a, run: 'exec:[/bin/x, \(String(repeating: "y", count: 70_000))]'}]")
            Issue.record("taken")
        } catch {
            #expect(error.problem.contains("longer than 65536 bytes"))
        }
    }

    @Test("facts that this version cannot read are told and left alone")
    func unreadable() {
        let kept = DesiredDocuments.read([
            ("desired/services/web", Array(#"{"name":"web","run":"rocket:moon"}"#.utf8)),
            ("desired/services/bad", [0xFF]), ("user/admin", Array("x".utf8)),
        ])
        #expect(kept.state == DesiredState())
        #expect(kept.unreadable.count == 2)
    }

    @Test("a preferred node that nobody knows is a note, not an error")
    func notes() throws {
        let answer = try plan("services: [{name: a, run: systemd:a, prefer: [serv1, serv9]}]").0
        #expect(answer.notes == ["a prefers serv9, which is not a node of this cluster yet"])
    }

    @Test("the schema of the document comes with all that was asked for before; what is there already is only noted")
    func schema() throws {
        let (a, b) = ("CREATE TABLE a (k INTEGER PRIMARY KEY)", "CREATE TABLE b (k INTEGER PRIMARY KEY)")
        let kept = keep(try plan("schema: ['\(a)']").1)
        func whole(_ text: String) throws -> DesiredDocuments.Plan {
            try DesiredDocuments.plan(ApplyRequest(document: text), kept: kept, nodes: [serv1])
        }
        #expect(try whole("services: []").schema == [])
        let both = try whole("schema: ['\(b)']")
        #expect(both.schema == [a, b])
        let shown = DesiredDocuments.shown(
            both.answer.changes, both.schema, [SchemaStep(statement: 0, name: "a", sql: a)])
        #expect(shown.map(\.details) == [["is there already: \(b)"], [a]])
        let made = DesiredDocuments.shown(
            both.answer.changes, both.schema, [SchemaStep(statement: 1, name: "b", sql: b)])
        #expect(made == [DesiredDifference(change: .added, part: "schema", name: "b", details: [b])])
    }
}
